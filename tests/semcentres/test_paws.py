"""Tests of PAWS against loops over single images, in float64."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcentres.objectives.balance import balanced, prior_divergence
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.paws import PAWS, consistency, sharpen, smoothed_labels, soft_neighbours


def unit(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1)


@pytest.fixture
def batch() -> EmbeddedBatch:
    """L=5, U=6, K=4, D=3; class 2 has no support."""
    return EmbeddedBatch(
        labelled=(unit(5, 3, seed=0), unit(5, 3, seed=1)),
        labels=torch.tensor([1, 0, 3, 0, 1]),
        unlabelled=(unit(6, 3, seed=2), unit(6, 3, seed=3)),
        centres=unit(4, 3, seed=4),
        progress=0.5,
        labelled_rows=torch.arange(5),
        unlabelled_rows=torch.arange(5, 11),
    )


def neighbours_by_hand(z: Tensor, batch: EmbeddedBatch, t: float, smoothing: float) -> list[float]:
    p, total = [0.0] * 4, 0.0
    for view in batch.labelled:
        for support, label in zip(view, batch.labels.tolist(), strict=True):
            weight = math.exp(float(z @ support) / t)
            total += weight
            for k in range(4):
                p[k] += weight * ((1 - smoothing) * (k == label) + smoothing / 4)
    return [x / total for x in p]


def sharp_by_hand(p: list[float], sharpening: float) -> list[float]:
    powered = [x ** (1 / sharpening) for x in p]
    return [x / sum(powered) for x in powered]


def loss_by_hand(batch: EmbeddedBatch, t: float, sharpening: float, smoothing: float) -> float:
    views = [[neighbours_by_hand(z, batch, t, smoothing) for z in v] for v in batch.unlabelled]
    total, sums = 0.0, [0.0] * 4
    for own, other in ((0, 1), (1, 0)):
        for i in range(6):
            target = [x if x >= 1e-4 else 0 for x in sharp_by_hand(views[other][i], sharpening)]
            total -= sum(y * math.log(x) for y, x in zip(target, views[own][i], strict=True))
            sums = [
                a + b for a, b in zip(sums, sharp_by_hand(views[own][i], sharpening), strict=True)
            ]
    mean = [x / 12 for x in sums]
    return total / 12 + math.log(4) + sum(x * math.log(x) for x in mean)


@pytest.mark.parametrize(("t", "sharpening"), [(0.1, 0.25), (0.7, 0.5)])
def test_equals_loops(batch: EmbeddedBatch, t: float, sharpening: float) -> None:
    loss = PAWS(temperature=t, sharpening=sharpening, label_smoothing=0.2)(batch)["loss"]
    assert loss.item() == pytest.approx(loss_by_hand(batch, t, sharpening, 0.2), rel=1e-6)


def test_gradient_reaches_anchors_and_supports_and_no_target(batch: EmbeddedBatch) -> None:
    def loss(first: Tensor, second: Tensor, support: Tensor) -> Tensor:
        labels = smoothed_labels(batch.labels, num_classes=4, smoothing=0.1)
        p = [soft_neighbours(z, support, labels, temperature=0.5) for z in (first, second)]
        fixed = [x.detach() for x in p]
        # With targets held where they are, finite differences see no path through them.
        targets = [sharpen(x, sharpening=0.5) for x in fixed]
        return -(targets[1] * p[0].log()).sum() / 12 - (targets[0] * p[1].log()).sum() / 12

    views = [view.clone().requires_grad_() for view in (*batch.unlabelled, batch.labelled[0])]
    labels = smoothed_labels(batch.labels, num_classes=4, smoothing=0.1)
    predicted = [soft_neighbours(z, views[2], labels, temperature=0.5) for z in views[:2]]
    found = torch.autograd.grad(consistency(predicted, sharpening=0.5), views)
    wanted = torch.autograd.grad(loss(*views), views)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)
    probabilities = [p.detach().requires_grad_() for p in predicted]
    assert torch.autograd.gradcheck(
        lambda z: soft_neighbours(z, views[2].detach(), labels, temperature=0.5), views[0]
    )
    consistency(probabilities, sharpening=0.5).backward()
    assert all(p.grad is not None for p in probabilities)


def test_further_views_have_the_mean_of_the_two_targets() -> None:
    p, q, r = (unit(5, 3, seed=s).square() for s in range(3))
    targets = [sharpen(x, sharpening=0.3) for x in (q, p)]
    targets.append((targets[0] + targets[1]) / 2)
    targets = [torch.where(x < 1e-4, 0, x) for x in targets]
    losses = [-(t * x.log()).sum(dim=1).mean() for t, x in zip(targets, (p, q, r), strict=True)]
    found = consistency([p, q, r], sharpening=0.3)
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_targets_may_be_balanced() -> None:
    p, q = (unit(5, 3, seed=s).square() for s in range(2))
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    targets = [balanced(sharpen(x, sharpening=0.5), prior) for x in (q, p)]
    wanted = [-(t * x.log()).sum(dim=1).mean() for t, x in zip(targets, (p, q), strict=True)]
    found = consistency([p, q], sharpening=0.5, balance_targets=True, prior=prior)
    torch.testing.assert_close(found, (wanted[0] + wanted[1]) / 2, rtol=1e-3, atol=1e-3)
    assert abs(found - consistency([p, q], sharpening=0.5)) > 0.01


def test_options_of_the_module_reach_its_terms(batch: EmbeddedBatch) -> None:
    prior = [0.4, 0.3, 0.2, 0.1]
    options = {"balance_targets": True, "prior": prior, "balance_weight": 0.3}
    terms = PAWS(temperature=0.5, sharpening=0.5, label_smoothing=0.2, **options)(batch)  # type: ignore[arg-type]
    predicted = [
        torch.tensor([neighbours_by_hand(z, batch, 0.5, 0.2) for z in view]).double()
        for view in batch.unlabelled
    ]
    shares = torch.tensor(prior)
    wanted = consistency(predicted, sharpening=0.5, balance_targets=True, prior=shares)
    spread = prior_divergence(sharpen(torch.cat(predicted), sharpening=0.5), shares)
    assert terms["consistency"].item() == pytest.approx(wanted.item(), rel=1e-5)
    assert terms["balance"].item() == pytest.approx(spread.item(), rel=1e-5)
    assert terms["loss"].item() == pytest.approx((wanted + 0.3 * spread).item(), rel=1e-5)


def test_msn_balances_what_is_not_sharpened(batch: EmbeddedBatch) -> None:
    """log K - H of the mean of the probabilities themselves."""
    terms = PAWS(temperature=0.5, label_smoothing=0.2, balance_sharpened=False)(batch)
    rows = [neighbours_by_hand(z, batch, 0.5, 0.2) for view in batch.unlabelled for z in view]
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    wanted = math.log(len(means)) + sum(m * math.log(m) for m in means)
    assert terms["balance"].item() == pytest.approx(wanted, rel=1e-4)
    assert abs(terms["balance"].item() - PAWS(temperature=0.5)(batch)["balance"].item()) > 1e-3


def test_both_terms_have_gradients_and_the_supports_too(batch: EmbeddedBatch) -> None:
    leaves = [v.clone().requires_grad_() for v in (*batch.unlabelled, *batch.labelled)]
    terms = PAWS()(replace(batch, unlabelled=tuple(leaves[:2]), labelled=tuple(leaves[2:])))
    for name in ("consistency", "balance"):
        gradients = torch.autograd.grad(terms[name], leaves, retain_graph=True)
        assert all(g.abs().max() > 1e-6 for g in gradients)
    assert torch.autograd.gradcheck(
        lambda p: prior_divergence(sharpen(p, sharpening=0.5)),
        unit(5, 4, seed=7).square().requires_grad_(),
    )


def test_order_of_images_supports_and_classes_changes_nothing(batch: EmbeddedBatch) -> None:
    images, supports = torch.tensor([4, 0, 5, 2, 1, 3]), torch.tensor([3, 1, 4, 0, 2])
    classes = torch.tensor([2, 3, 1, 0])
    moved = replace(
        batch,
        unlabelled=tuple(v[images] for v in batch.unlabelled),
        labelled=tuple(v[supports] for v in batch.labelled),
        labels=classes[batch.labels[supports]],
    )
    torch.testing.assert_close(PAWS()(moved)["loss"], PAWS()(batch)["loss"])
    swapped = replace(batch, unlabelled=batch.unlabelled[::-1])
    torch.testing.assert_close(PAWS()(swapped)["loss"], PAWS()(batch)["loss"])


def test_strong_sharpening_of_many_classes_stays_finite() -> None:
    """In float32, where 0.01 to the power of 100 is 0 in every class but a few."""
    rows = [unit(9, 8, seed=s).float() for s in range(4)]
    anchors = tuple(z.requires_grad_() for z in rows[2:])
    labels, rng = torch.arange(9) * 20, torch.arange(9)
    many = EmbeddedBatch(
        tuple(rows[:2]), labels, anchors, unit(200, 8, seed=5).float(), 0.0, rng, rng
    )
    PAWS(sharpening=0.01)(many)["loss"].backward()
    assert anchors[0].grad is not None
    assert anchors[0].grad.isfinite().all()
    even = torch.full((2, 200), 1 / 200, requires_grad=True)
    torch.testing.assert_close(sharpen(even, sharpening=0.01), even)
    sure = torch.tensor([[1.0, 0.0]], requires_grad=True)
    sharpen(sure, sharpening=0.5)[:, 0].sum().backward()
    assert sure.grad is not None
    assert sure.grad.isfinite().all()


def test_sharpening_leaves_certainty_and_even_odds() -> None:
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(sharpen(p, sharpening=0.25), p)
    half = torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(
        sharpen(half, sharpening=0.5), torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    )


def test_empty_batches(batch: EmbeddedBatch) -> None:
    none = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    empty = replace(batch, unlabelled=(none, none), unlabelled_rows=torch.arange(0))
    loss = PAWS()(empty)["loss"]
    assert loss == 0
    loss.backward()
    bare = replace(
        batch, labelled=(none, none), labels=batch.labels[:0], labelled_rows=torch.arange(0)
    )
    leaves = tuple(view.clone().requires_grad_() for view in batch.unlabelled)
    terms = PAWS()(replace(bare, unlabelled=leaves))
    assert [value.item() for value in terms.values()] == [0, 0, 0]
    terms["loss"].backward()
    assert all(leaf.grad.eq(0).all() for leaf in leaves)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.0}, "must be positive, got 0.0 and 0.25"),
        ({"sharpening": -1.0}, "got 0.1 and -1.0"),
        ({"label_smoothing": 0.0}, r"must be in \(0, 1\), got 0"),
        ({"balance_weight": -0.1}, "at least 0, got -0.1"),
        ({"prior": [0.5, 0.6]}, r"sum to 1, got \[0\.5, 0\.6\]"),
        ({"prior": [1.0, 0.0]}, r"must be positive and sum to 1, got \[1\.0, 0\.0\]"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PAWS(**options)
    with pytest.raises(ValueError, match="two or more, got 1"):
        consistency([torch.ones(1, 1)], sharpening=0.5)
