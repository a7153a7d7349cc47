"""Tests of NT-Xent, DCL, HCL and InfoNCE against sums over single pairs, and of their conflict."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.conflict import conflict, cosine_gradient
from semcentres.objectives.contrast import Estimator, contrast
from semcentres.objectives.nt_xent import (
    NTXent,
    all_cosines,
    info_nce,
    nt_xent,
    nt_xent_of_cosines,
)

ALL = pytest.mark.parametrize("estimator", list(Estimator))


def unit(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1)


@pytest.fixture
def views() -> list[Tensor]:
    """B=5, D=3, V=2, so that no wrong axis agrees by symmetry."""
    return [unit(5, 3, seed=0), unit(5, 3, seed=1)]


@pytest.fixture
def batch() -> EmbeddedBatch:
    """L=4, U=3, D=3, two views; two labelled images are of one class."""
    return EmbeddedBatch(
        labelled=(unit(4, 3, seed=0), unit(4, 3, seed=1)),
        labels=torch.tensor([2, 0, 1, 0]),
        unlabelled=(unit(3, 3, seed=2), unit(3, 3, seed=3)),
        centres=unit(5, 3, seed=4),
        progress=0.0,
        labelled_rows=torch.arange(4),
        unlabelled_rows=torch.arange(4, 7),
    )


def one_loss(
    positive: float, negatives: list[float], t: float, kind: str, tau_plus: float, beta: float
) -> float:
    """One anchor's loss by definitions 4.4 and 4.7, in plain floats."""
    num = len(negatives)
    e = [math.exp(s / t) for s in negatives]
    own = math.exp(positive / t)
    total = sum(e)
    if kind == "hard":
        w = [x**beta for x in e]
        total = num * sum(a * b for a, b in zip(w, e, strict=True)) / sum(w)
    if kind != "uniform":
        total = max((total - num * tau_plus * own) / (1 - tau_plus), num * math.exp(-1 / t))
    return -math.log(own / (own + total))


def by_hand(
    views: list[Tensor],
    *,
    t: float,
    kind: str = "uniform",
    tau_plus: float = 0.1,
    beta: float = 1.0,
    dissimilar: Callable[[int, int], bool] = lambda i, j: i != j,
) -> float:
    z = [view.numpy() for view in views]
    losses = []
    for v in range(len(z)):
        for i in range(len(z[0])):
            negatives = [
                float(np.dot(z[v][i], z[u][j]))
                for u in range(len(z))
                for j in range(len(z[0]))
                if dissimilar(i, j)
            ]
            for u in range(len(z)):
                if u != v:
                    own = float(np.dot(z[v][i], z[u][i]))
                    losses.append(one_loss(own, negatives, t, kind, tau_plus, beta))
    return sum(losses) / len(losses)


@ALL
@pytest.mark.parametrize("num_views", [2, 3])
@pytest.mark.parametrize("t", [0.3, 1.5])
def test_equals_formula(estimator: Estimator, num_views: int, t: float) -> None:
    views = [unit(5, 3, seed=s) for s in range(num_views)]
    wanted = by_hand(views, t=t, kind=estimator, tau_plus=0.05, beta=0.7)
    value = nt_xent(views, temperature=t, estimator=estimator, tau_plus=0.05, beta=0.7)
    assert value.item() == pytest.approx(wanted, abs=1e-12)


def test_clamp_holds_where_the_correction_is_too_large(views: list[Tensor]) -> None:
    """With the anchor as its own positive the corrected sum is negative; the least one is left."""
    t = 0.2
    value = nt_xent([views[0], views[0]], temperature=t, estimator="debiased", tau_plus=0.6)
    wanted = math.log1p(8 * math.exp(-2 / t))
    assert value.item() == pytest.approx(wanted, abs=1e-12)


@ALL
def test_only_dissimilar_images_are_negatives(views: list[Tensor], estimator: Estimator) -> None:
    keep = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) < 0.7
    keep[0, 3] = not keep[3, 0]
    wanted = by_hand(
        views, t=0.4, kind=estimator, dissimilar=lambda i, j: bool(i != j and keep[i, j])
    )
    value = nt_xent(views, temperature=0.4, estimator=estimator, dissimilar=keep)
    assert value.item() == pytest.approx(wanted, abs=1e-12)


@ALL
def test_gradient_is_right_through_the_weights(views: list[Tensor], estimator: Estimator) -> None:
    first, second = (view.clone().requires_grad_() for view in views)
    options = {"temperature": 0.5, "estimator": estimator, "tau_plus": 0.05}
    assert torch.autograd.gradcheck(lambda a, b: nt_xent([a, b], **options), (first, second))


def test_uniform_debiased_hard_agree_in_their_limits(views: list[Tensor]) -> None:
    def loss(**options: object) -> Tensor:
        return nt_xent(views, temperature=0.5, **options)  # type: ignore[arg-type]

    debiased = loss(estimator="debiased", tau_plus=0.1)
    torch.testing.assert_close(loss(estimator="hard", tau_plus=0.1, beta=0.0), debiased)
    torch.testing.assert_close(loss(estimator="hard", tau_plus=0.0, beta=0.0), loss())
    torch.testing.assert_close(loss(estimator="debiased", tau_plus=0.0), loss())
    assert loss(estimator="hard", tau_plus=0.1) > debiased + 0.1
    assert loss() > debiased + 0.01


def test_hard_goes_to_the_hardest_negative() -> None:
    cosines = torch.tensor([[0.6, -0.2, 0.5]], dtype=torch.float64)
    kept = torch.ones(1, 3, dtype=torch.bool)
    own = torch.tensor([[0.4]], dtype=torch.float64)
    value = contrast(
        own, cosines, kept, temperature=0.1, estimator="hard", tau_plus=0.0, beta=200.0
    )
    assert value.item() == pytest.approx(math.log1p(3 * math.exp(0.2 / 0.1)), abs=1e-9)


def test_view_sum_is_the_published_twice_the_mean(views: list[Tensor]) -> None:
    mean = nt_xent(views, temperature=0.5)
    torch.testing.assert_close(nt_xent(views, temperature=0.5, reduction="view_sum"), 2 * mean)


@ALL
def test_is_unchanged_by_order_and_rotation(views: list[Tensor], estimator: Estimator) -> None:
    order = torch.tensor([3, 0, 4, 1, 2])
    q, _ = torch.linalg.qr(unit(3, 3, seed=9))
    turned = [view[order] @ q for view in reversed(views)]
    value = nt_xent(turned, temperature=0.5, estimator=estimator)
    torch.testing.assert_close(value, nt_xent(views, temperature=0.5, estimator=estimator))


@pytest.mark.parametrize("num_views", [2, 3])
def test_equals_pytorch_metric_learning(num_views: int) -> None:
    views = [unit(5, 3, seed=s) for s in range(num_views)]
    peer = NTXentLoss(temperature=0.3)(torch.cat(views), torch.arange(5).repeat(num_views))
    torch.testing.assert_close(nt_xent(views, temperature=0.3), peer)


@ALL
def test_one_point_for_all_costs_log_of_the_others(estimator: Estimator) -> None:
    z = unit(1, 3, seed=0).expand(4, 3)
    value = nt_xent([z, z], temperature=0.5, estimator=estimator)
    assert value.item() == pytest.approx(math.log(1 + 6), abs=1e-9)


@ALL
@pytest.mark.parametrize("shared", [False, True])
def test_info_nce_equals_formula(estimator: Estimator, shared: bool) -> None:
    a, p = unit(4, 3, seed=0), unit(4, 3, seed=1)
    n = unit(6, 3, seed=2) if shared else unit(4, 6, 3, seed=2)
    wanted = []
    for i in range(4):
        rows = n if shared else n[i]
        negatives = [float(a[i] @ row) for row in rows]
        wanted.append(one_loss(float(a[i] @ p[i]), negatives, 0.4, estimator, 0.05, 0.7))
    options = {"temperature": 0.4, "estimator": estimator, "tau_plus": 0.05, "beta": 0.7}
    value = info_nce(a, p, n, **options)
    assert value.item() == pytest.approx(sum(wanted) / 4, abs=1e-12)
    inputs = tuple(x.clone().requires_grad_() for x in (a, p, n))
    assert torch.autograd.gradcheck(lambda a, p, n: info_nce(a, p, n, **options), inputs)


@ALL
def test_info_nce_leaves_out_what_is_not_kept(estimator: Estimator) -> None:
    a, p, n = unit(4, 3, seed=0), unit(4, 3, seed=1), unit(6, 3, seed=2)
    kept = torch.arange(6).expand(4, 6) < 4
    value = info_nce(a, p, n, temperature=0.2, kept=kept, estimator=estimator)
    torch.testing.assert_close(value, info_nce(a, p, n[:4], temperature=0.2, estimator=estimator))


@ALL
def test_no_negative_and_no_image_cost_nothing(estimator: Estimator) -> None:
    for num in (0, 1):
        z = unit(num, 3, seed=0).requires_grad_()
        value = nt_xent([z, unit(num, 3, seed=1)], temperature=0.5, estimator=estimator)
        assert value == 0
        value.backward()
        assert z.grad is not None
        assert z.grad.isfinite().all()


@ALL
def test_small_temperature_neither_overflows_nor_vanishes(
    views: list[Tensor], estimator: Estimator
) -> None:
    """At 0.005 single precision has no e^{1 / t}."""
    first = views[0].float().requires_grad_()
    options = {"temperature": 0.005, "estimator": estimator, "tau_plus": 0.0}
    value = nt_xent([first, views[1].float()], **options)
    torch.testing.assert_close(value.double(), nt_xent(views, **options), rtol=1e-4, atol=1e-4)
    value.backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()


def test_conflict_equals_softmax_weights(views: list[Tensor]) -> None:
    """Of NT-Xent: over the labelled pairs, the share of one class and of its softmax weight."""
    labels, t = [1, 0, 1, -1, 1], 0.4
    z = torch.cat(views).numpy()
    weights: dict[bool, list[float]] = {True: [], False: []}
    for a in range(10):
        scores = [math.exp(float(np.dot(z[a], z[b])) / t) if a != b else 0 for b in range(10)]
        for b in range(10):
            i, j = a % 5, b % 5
            if i != j and labels[i] >= 0 and labels[j] >= 0:
                weights[labels[i] == labels[j]].append(scores[b] / sum(scores))
    gradient = cosine_gradient(
        lambda c: nt_xent_of_cosines(c, num_views=2, temperature=t), all_cosines(views)
    )
    found = conflict(gradient, torch.arange(5).repeat(2), torch.tensor(labels).repeat(2))
    same, other = weights[True], weights[False]
    assert found.share.item() == pytest.approx(len(same) / (len(same) + len(other)))
    assert found.weight.item() == pytest.approx(sum(same) / (sum(same) + sum(other)), abs=1e-12)


def test_conflict_counts_neither_pulls_nor_views_of_one_image() -> None:
    gradient = torch.tensor([[9.0, 1.0, 3.0], [-5.0, 9.0, 2.0], [9.0, 4.0, 9.0]])
    found = conflict(gradient, torch.tensor([0, 1, 0]), torch.tensor([7, 7, 7]))
    assert (found.share, found.weight) == (1, 1)
    found = conflict(gradient, torch.tensor([0, 1, 0]), torch.tensor([7, 7, 8]))
    assert found.share.item() == pytest.approx(1 / 3)
    assert found.weight.item() == pytest.approx(1 / 7)
    found = conflict(gradient, torch.arange(3), torch.full((3,), -1))
    assert (found.share, found.weight) == (0, 0)


@ALL
def test_module_joins_labelled_and_unlabelled(batch: EmbeddedBatch, estimator: Estimator) -> None:
    options = {"temperature": 0.3, "estimator": estimator, "reduction": "view_sum"}
    terms = NTXent(**options)(batch)
    views = [torch.cat(pair) for pair in zip(batch.labelled, batch.unlabelled, strict=True)]
    torch.testing.assert_close(terms["loss"], nt_xent(views, **options))
    if estimator == "uniform":
        assert terms["false_negatives"].item() == pytest.approx(2 / 12)
        assert 0 < terms["false_negative_weight"] < 1


def test_module_passes_the_estimators_options(batch: EmbeddedBatch) -> None:
    options = {"temperature": 0.3, "estimator": "hard", "tau_plus": 0.02, "beta": 0.4}
    views = [torch.cat(pair) for pair in zip(batch.labelled, batch.unlabelled, strict=True)]
    torch.testing.assert_close(NTXent(**options)(batch)["loss"], nt_xent(views, **options))


def test_module_never_pushes_an_image_from_itself(batch: EmbeddedBatch) -> None:
    """The last unlabelled image is the second labelled one, drawn twice."""
    twice = replace(batch, unlabelled_rows=torch.tensor([4, 5, 1]))
    views = [torch.cat(pair) for pair in zip(batch.labelled, batch.unlabelled, strict=True)]
    wanted = by_hand(views, t=0.5, dissimilar=lambda i, j: i != j and {i, j} != {1, 6})
    assert NTXent()(twice)["loss"].item() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("temperature", 0.0, "positive, got 0.0"),
        ("estimator", "easy", "one of uniform, debiased, hard, got easy"),
        ("tau_plus", 1.0, r"in \[0, 1\), got 1.0"),
        ("beta", -0.5, "at least 0, got -0.5"),
        ("reduction", "median", "one of mean, view_sum, got median"),
    ],
)
def test_refuses_options(views: list[Tensor], option: str, value: object, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be {wanted}"):
        NTXent(**{option: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{option} must be {wanted}"):
        nt_xent(views, **({"temperature": 0.5} | {option: value}))  # type: ignore[arg-type]


def test_refuses_one_view_and_no_negatives(views: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="views must be two or more, got 1"):
        nt_xent(views[:1], temperature=0.5)
    with pytest.raises(ValueError, match=r"at least one row, got \(0, 3\)"):
        info_nce(views[0], views[1], views[0][:0], temperature=0.5)
