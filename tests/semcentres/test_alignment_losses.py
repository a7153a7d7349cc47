"""Tests of alignment and uniformity as a loss, and of the theorem that ties them to InfoNCE."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcentres.evaluation.distribution import alignment, uniformity
from semcentres.objectives.alignment import AlignUniform, align, uniform
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.contrast import contrast
from semcentres.objectives.joined import join


def unit(rows: int, seed: int, columns: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, columns, generator=rng, dtype=torch.float64), dim=1)


@pytest.fixture
def batch() -> EmbeddedBatch:
    """L=4, U=3, K=5, D=3, three views, and one image in it both with its label and without."""
    return EmbeddedBatch(
        labelled=(unit(4, 0), unit(4, 1), unit(4, 2)),
        labels=torch.tensor([2, 0, 1, 0]),
        unlabelled=(unit(3, 3), unit(3, 4), unit(3, 5)),
        centres=unit(5, 6),
        progress=0.0,
        labelled_rows=torch.tensor([10, 11, 12, 13]),
        unlabelled_rows=torch.tensor([20, 11, 22]),
    )


def squared_distance(x: Tensor, y: Tensor) -> float:
    return sum((a - b) ** 2 for a, b in zip(x.tolist(), y.tolist(), strict=True))


def align_by_hand(x: Tensor, y: Tensor, alpha: float) -> float:
    return sum(squared_distance(*pair) ** (alpha / 2) for pair in zip(x, y, strict=True)) / len(x)


def uniform_by_hand(x: Tensor, t: float, rows: list[int]) -> float:
    pairs = [(i, j) for i, j in combinations(range(len(x)), 2) if rows[i] != rows[j]]
    kernels = [math.exp(-t * squared_distance(x[i], x[j])) for i, j in pairs]
    return math.log(sum(kernels) / len(kernels))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0])
def test_align_equals_formula(alpha: float) -> None:
    x, y = unit(7, 0), unit(7, 1)
    assert align(x, y, alpha).item() == pytest.approx(align_by_hand(x, y, alpha))
    assert torch.autograd.gradcheck(lambda x, y: align(x, y, alpha), (x.requires_grad_(), y))


@pytest.mark.parametrize("t", [0.5, 2.0, 40.0])
def test_uniform_equals_formula(t: float) -> None:
    x = unit(7, 0)
    rows = [1, 2, 3, 1, 4, 2, 1]
    assert uniform(x, t).item() == pytest.approx(uniform_by_hand(x, t, list(range(7))))
    kept = torch.tensor([[a != b for b in rows] for a in rows])
    assert uniform(x, t, kept=kept).item() == pytest.approx(uniform_by_hand(x, t, rows))
    assert torch.autograd.gradcheck(lambda x: uniform(x, t, kept=kept), x.requires_grad_())


def test_agrees_with_the_metrics() -> None:
    x, y = unit(300, 0, 16), unit(300, 1, 16)
    for value in (0.7, 2.0, 5.0):
        wanted = alignment(x.numpy(), y.numpy(), value)
        assert align(x, y, value).item() == pytest.approx(wanted, rel=1e-12)
        assert uniform(x, value).item() == pytest.approx(uniformity(x.numpy(), value), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_equal_views_cost_0_with_a_finite_gradient(alpha: float) -> None:
    x = unit(5, 0).requires_grad_()
    loss = align(x, x.detach(), alpha)
    loss.backward()
    assert loss == 0
    assert x.grad is not None
    assert (x.grad == 0).all()


def test_closed_forms() -> None:
    x = unit(6, 0)
    assert align(x, -x, 3.0).item() == pytest.approx(8)
    assert uniform(torch.stack([x[0], -x[0]]), 400.0).item() == pytest.approx(-1600)
    assert uniform(x[:1].repeat(4, 1)).item() == pytest.approx(0, abs=1e-12)
    # Orthogonal rows, all at squared distance 2.
    assert uniform(torch.eye(5), 1.5).item() == pytest.approx(-3)


def test_rotation_and_order_change_nothing() -> None:
    x, y = unit(6, 0), unit(6, 1)
    turn, _ = torch.linalg.qr(unit(3, 2))
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    torch.testing.assert_close(align(x @ turn, y @ turn, 1.5), align(x, y, 1.5))
    torch.testing.assert_close(align(x[order], y[order]), align(x, y))
    torch.testing.assert_close(uniform((x @ turn)[order]), uniform(x))


def test_module_is_the_mean_over_pairs_of_views_and_over_views(batch: EmbeddedBatch) -> None:
    views, rows = join(batch).views, [10, 11, 12, 13, 20, 11, 22]
    aligned = sum(align_by_hand(x, y, 1.5) for x, y in combinations(views, 2)) / 3
    spread = sum(uniform_by_hand(z, 3.0, rows) for z in views) / 3
    objective = AlignUniform(alpha=1.5, t=3.0, uniform_weight=0.25)
    terms = objective(batch)
    assert terms["align"].item() == pytest.approx(aligned)
    assert terms["uniform"].item() == pytest.approx(spread)
    assert terms["loss"].item() == pytest.approx(aligned + 0.25 * spread)
    assert objective.temperature is None
    swapped = replace(batch, labels=batch.labels.flip(0))
    assert objective(swapped)["loss"] == terms["loss"]


@pytest.mark.parametrize("num", [0, 1])
def test_without_a_pair_uniformity_costs_nothing_and_stays_in_the_graph(
    batch: EmbeddedBatch, num: int
) -> None:
    z = batch.labelled[0][:num].requires_grad_()
    few = replace(
        batch,
        labelled=(z, z),
        labels=batch.labels[:num],
        unlabelled=(z[:0], z[:0]),
        labelled_rows=batch.labelled_rows[:num],
        unlabelled_rows=batch.unlabelled_rows[:0],
    )
    loss = AlignUniform()(few)["loss"]
    assert loss == 0
    loss.backward()
    assert z.grad is not None
    assert (z.grad == 0).all()
    same = torch.zeros(4, 4, dtype=torch.bool)
    assert uniform(unit(4, 0), kept=same) == 0


def test_descent_spreads_points_evenly_on_the_circle() -> None:
    # The kernel energy of 5 points on a circle is least for the regular pentagon.
    angles = torch.tensor([0.0, 0.1, 0.3, 0.6, 1.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([angles], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        uniform(torch.stack([angles.cos(), angles.sin()], dim=1)).backward()
        optimiser.step()
    around = (angles.detach() % (2 * math.pi)).sort().values
    gaps = torch.diff(torch.cat([around, around[:1] + 2 * math.pi]))
    torch.testing.assert_close(gaps, torch.full_like(gaps, 2 * math.pi / 5), atol=1e-3, rtol=0)


def test_contrastive_loss_minus_log_m_tends_to_the_limit() -> None:
    """Theorem 1 of Wang & Isola: on 9 equally likely images the limit is a finite sum."""
    tau, num, draws = 0.5, 9, 3000
    x, y = unit(num, 0), unit(num, 1)
    rng = torch.Generator().manual_seed(2)
    # -E[x . y] / tau by the alignment, as ||x - y||^2 = 2 - 2 x . y.
    attraction = (align(x, y) - 2) / (2 * tau)
    repulsion = (x @ x.T / tau).exp().mean(dim=1).log()
    limit = attraction + repulsion.mean()
    deviations, biases, counts = [], [], [16, 64, 256, 1024]
    for m in counts:
        anchors = torch.arange(num).repeat(draws // num)
        drawn = torch.randint(num, (len(anchors), m), generator=rng)
        positives = (x * y).sum(dim=1)[anchors, None]
        negatives = (x @ x.T)[anchors[:, None], drawn]
        losses = contrast(
            positives, negatives, torch.ones_like(drawn, dtype=torch.bool), temperature=tau
        )
        biases.append(float(losses.mean() - math.log(m) - limit))
        errors = (losses - math.log(m) + positives / tau).squeeze(1) - repulsion[anchors]
        deviations.append(float(errors.square().mean().sqrt()))
    steps = [math.log2(b / a) / 2 for a, b in zip(deviations, deviations[1:], strict=False)]
    # The error of one draw of negatives falls like M^{-1/2}; their mean no more slowly.
    assert steps[1:] == pytest.approx([-0.5, -0.5], abs=0.06)
    assert all(abs(b) * math.sqrt(m) < 2 for b, m in zip(biases, counts, strict=True))
    assert abs(biases[-1]) < 0.005


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_refuses(batch: EmbeddedBatch, value: float) -> None:
    x = unit(4, 0)
    with pytest.raises(ValueError, match=f"alpha must be positive, got {value}"):
        align(x, x, value)
    with pytest.raises(ValueError, match=f"t must be positive, got {value}"):
        uniform(x, value)
    with pytest.raises(ValueError, match=f"alpha must be positive, got {value}"):
        AlignUniform(alpha=value)
    with pytest.raises(ValueError, match=f"t must be positive, got {value}"):
        AlignUniform(t=value)
    with pytest.raises(ValueError, match="uniform_weight must be at least 0, got -2.0"):
        AlignUniform(uniform_weight=-2.0)
    single = replace(batch, labelled=batch.labelled[:1], unlabelled=batch.unlabelled[:1])
    with pytest.raises(ValueError, match="views must be two or more, got 1"):
        AlignUniform()(single)
