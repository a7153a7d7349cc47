"""Tests of the cross-entropy to centres against arithmetic that shares no code with it."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.centre_softmax import CentreSoftmax, centre_softmax
from semcentres.softmin import softmin


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    """B=5, K=4, D=3, all different, so that no wrong axis or index agrees by symmetry."""
    rng = torch.Generator().manual_seed(0)
    z, c = (torch.randn(n, 3, generator=rng, dtype=torch.float64) for n in (5, 4))
    return F.normalize(z, dim=1), F.normalize(c, dim=1), torch.tensor([2, 0, 3, 0, 1])


def by_hand(z: list[float], centres: list[list[float]], label: int, t: float) -> float:
    scores = [math.exp(sum(a * b for a, b in zip(z, c, strict=True)) / t) for c in centres]
    return -math.log(scores[label] / sum(scores))


@pytest.mark.parametrize("t", [0.05, 0.5, 2.0])
def test_equals_formula(batch: tuple[Tensor, Tensor, Tensor], t: float) -> None:
    z, c, y = batch
    wanted = [by_hand(z[i].tolist(), c.tolist(), int(y[i]), t) for i in range(5)]
    loss = centre_softmax(z, c, y, temperature=t)
    torch.testing.assert_close(loss, torch.tensor(wanted, dtype=torch.float64))


def test_is_the_labelled_energy_with_its_normaliser(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    z, c, y = batch
    energy = (z - c[y]).square().sum(dim=1) - softmin(z, c, temperature=0.6)
    torch.testing.assert_close(centre_softmax(z, c, y, temperature=0.3), energy / 0.6)


def test_gradient_reaches_the_embeddings_alone(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    z, c, y = batch
    z.requires_grad_()
    c.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: centre_softmax(z, c, y, temperature=0.5), z)
    centre_softmax(z, c, y, temperature=0.5).sum().backward()
    assert c.grad is None


def test_module_is_the_mean_over_images_and_views(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    z, c, y = (x.float() if x.is_floating_point() else x for x in batch)
    other = F.normalize(z + 0.3, dim=1)
    loss = CentreSoftmax(sharpness=4.0)(EmbeddedBatch((z, other), y, (), c, 0.0, y, y[:0]))["loss"]
    both = [centre_softmax(view, c, y, temperature=0.25).mean() for view in (z, other)]
    torch.testing.assert_close(loss, sum(both) / 2)
    empty = EmbeddedBatch((z[:0].requires_grad_(),), y[:0], (), c, 0.0, y[:0], y[:0])
    nothing = CentreSoftmax()(empty)["loss"]
    assert nothing == 0
    assert nothing.requires_grad


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_refuses(batch: tuple[Tensor, Tensor, Tensor], value: float) -> None:
    with pytest.raises(ValueError, match=f"temperature must be positive, got {value}"):
        centre_softmax(*batch[:2], batch[2], temperature=value)
    with pytest.raises(ValueError, match=f"sharpness must be positive, got {value}"):
        CentreSoftmax(sharpness=value)
