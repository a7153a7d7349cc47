"""Tests of semcentres.softmin against arithmetic that shares no code with it."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcentres.softmin import assignment, nearest, softmin, squared_distances


def unit(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1)


def by_hand(z: list[float], centres: list[list[float]], t: float) -> tuple[float, list[float]]:
    """The docstring's formula with plain floats, from differences and not from cosines."""
    squares = [sum((a - b) ** 2 for a, b in zip(z, c, strict=True)) for c in centres]
    weights = [math.exp(-d / t) for d in squares]
    return -t * math.log(sum(weights)), [w / sum(weights) for w in weights]


@pytest.mark.parametrize("t", [0.05, 0.3, 1.0])
def test_equals_formula(t: float) -> None:
    z, c = unit(5, 3), unit(4, 3, seed=1)
    values, shares = zip(*[by_hand(row.tolist(), c.tolist(), t) for row in z], strict=True)
    torch.testing.assert_close(softmin(z, c, temperature=t), torch.tensor(values).double())
    torch.testing.assert_close(assignment(z, c, temperature=t), torch.tensor(shares).double())


def test_lies_between_its_bounds() -> None:
    z, c, t = unit(50, 6), unit(7, 6, seed=1), 0.4
    least = squared_distances(z, c).min(dim=1).values
    value = softmin(z, c, temperature=t)
    assert (value <= least).all()
    assert (value >= least - t * math.log(7)).all()


def test_tends_to_the_minimum() -> None:
    z, c = unit(20, 6), unit(7, 6, seed=1)
    least, row = squared_distances(z, c).min(dim=1)
    torch.testing.assert_close(softmin(z, c, temperature=1e-4), least, atol=1e-3, rtol=0)
    assert torch.equal(nearest(z, c), row)


def test_gradient_is_the_assignments_mean_of_gradients() -> None:
    z, c, t = unit(5, 3).requires_grad_(), unit(4, 3, seed=1), 0.3
    assert torch.autograd.gradcheck(lambda z: softmin(z, c, temperature=t), z)
    (gradient,) = torch.autograd.grad(softmin(z, c, temperature=t).sum(), z)
    # d^2 = 2 - 2 z.c on the sphere, so its gradient there is -2 c.
    torch.testing.assert_close(gradient, -2 * assignment(z, c, temperature=t) @ c)


def test_is_unchanged_by_rotation_and_order() -> None:
    z, c = unit(5, 3), unit(4, 3, seed=1)
    q, _ = torch.linalg.qr(unit(3, 3, seed=2))
    wanted = softmin(z, c, temperature=0.3)
    torch.testing.assert_close(softmin(z @ q, c @ q, temperature=0.3), wanted)
    torch.testing.assert_close(softmin(z, c[[2, 0, 3, 1]], temperature=0.3), wanted)


@pytest.mark.parametrize(("num_classes", "threshold"), [(10, 0.84), (100, 0.54)])
def test_without_low_temperature_the_barycentre_wins(num_classes: int, threshold: float) -> None:
    """The seed's error: above the threshold the barycentre costs less than any centre."""
    centres = torch.eye(num_classes, dtype=torch.float64)
    at_barycentre = F.normalize(centres.mean(dim=0, keepdim=True), dim=-1)
    for t, centre_wins in ((0.9 * threshold, True), (1.1 * threshold, False)):
        # The centre-type optimum lies between its centre and the barycentre.
        mixes = torch.linspace(0, 1, 400, dtype=torch.float64)[:, None]
        path = F.normalize((1 - mixes) * centres[:1] + mixes * at_barycentre, dim=-1)
        values = softmin(path, centres, temperature=t)
        assert bool(values.min() < values[-1] - 1e-9) is centre_wins


@pytest.mark.parametrize("t", [0.0, -1.0])
def test_refuses_temperature(t: float) -> None:
    with pytest.raises(ValueError, match=f"got {t}"):
        softmin(unit(2, 3), unit(4, 3), temperature=t)
