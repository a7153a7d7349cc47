"""Tests of the cluster energy against the sums of seed note 000, written out."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.objectives.balance import balanced, prior_divergence
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.cluster_energy import (
    ClusterEnergy,
    Reduction,
    Tie,
    hard_energy,
    labelled_energy,
    ramp,
    unlabelled_energy,
)


def unit(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1)


@pytest.fixture
def batch() -> EmbeddedBatch:
    """L=5, U=6, K=4, D=3, two views, so that no wrong axis agrees by symmetry."""
    return EmbeddedBatch(
        labelled=(unit(5, 3, seed=0), unit(5, 3, seed=1)),
        labels=torch.tensor([2, 0, 3, 0, 1]),
        unlabelled=(unit(6, 3, seed=2), unit(6, 3, seed=3)),
        centres=unit(4, 3, seed=4),
        progress=0.5,
        labelled_rows=torch.arange(5),
        unlabelled_rows=torch.arange(5, 11),
    )


def square(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def shares(z: list[float], centres: list[list[float]], t: float) -> list[float]:
    weights = [math.exp(-square(z, c) / t) for c in centres]
    return [w / sum(weights) for w in weights]


def soft(z: list[float], centres: list[list[float]], t: float) -> float:
    return -t * math.log(sum(math.exp(-square(z, c) / t) for c in centres))


def tied(first: list[float], other: list[float], c: list[list[float]], t: float, tie: Tie) -> float:
    if tie is Tie.EMBEDDING:
        return square(other, first)
    if tie is Tie.OWN:
        return soft(other, c, t)
    p = shares(first, c, t)
    if tie is Tie.HARD:
        return square(other, c[p.index(max(p))])
    return sum(w * square(other, centre) for w, centre in zip(p, c, strict=True))


def test_labelled_equals_formula(batch: EmbeddedBatch) -> None:
    first, other = (z.tolist() for z in batch.labelled)
    c, w = batch.centres.tolist(), 0.9
    terms = [
        (square(x, c[y]) + w * square(v, c[y])) / (1 + w)
        for x, v, y in zip(first, other, batch.labels.tolist(), strict=True)
    ]
    value = labelled_energy(batch.labelled, batch.labels, batch.centres, view_confidence=w)
    assert value.item() == pytest.approx(sum(terms) / 5, abs=1e-12)


@pytest.mark.parametrize("tie", list(Tie))
def test_unlabelled_equals_formula(batch: EmbeddedBatch, tie: Tie) -> None:
    first, other = (z.tolist() for z in batch.unlabelled)
    c, w, t = batch.centres.tolist(), 0.9, 0.3
    terms = [
        (soft(x, c, t) + w * tied(x, v, c, t, tie)) / (1 + w)
        for x, v in zip(first, other, strict=True)
    ]
    value = unlabelled_energy(
        batch.unlabelled, batch.centres, temperature=t, tie=tie, view_confidence=w
    )
    assert value.item() == pytest.approx(sum(terms) / 6, abs=1e-12)


@pytest.mark.parametrize("tie", list(Tie))
def test_gradients_are_right_and_stop_at_the_assignment(batch: EmbeddedBatch, tie: Tie) -> None:
    first, other = (z.clone().requires_grad_() for z in batch.unlabelled)
    options = {"temperature": 0.3, "tie": tie}
    assert torch.autograd.gradcheck(
        lambda v: unlabelled_energy([first.detach(), v], batch.centres, **options), other
    )
    (through,) = torch.autograd.grad(
        unlabelled_energy([first, other], batch.centres, **options), first
    )
    (alone,) = torch.autograd.grad(
        unlabelled_energy([first, other], batch.centres, view_confidence=0.0, **options), first
    )
    # With the tie, the first view's own term has half the weight, and nothing else reaches it.
    reached = not torch.allclose(through, alone / 2)
    assert reached is (tie is Tie.EMBEDDING)


def test_hard_energy_is_the_limit_of_the_soft(batch: EmbeddedBatch) -> None:
    z, c = batch.unlabelled[0], batch.centres
    limit = unlabelled_energy([z], c, temperature=1e-4)
    torch.testing.assert_close(hard_energy(z, c).mean(), limit, atol=1e-3, rtol=0)


def test_loss_is_the_weighted_sum_of_its_terms(batch: EmbeddedBatch) -> None:
    terms = ClusterEnergy(unlabelled_weight=3.0, unlabelled_ramp=1.0, balance_weight=0.7)(batch)
    wanted = terms["labelled"] + 3 * 0.5 * terms["unlabelled"] + 0.7 * terms["balance"]
    torch.testing.assert_close(terms["loss"], wanted)


@pytest.mark.parametrize(
    ("progress", "length", "wanted"), [(0.0, 0.0, 1.0), (0.1, 0.4, 0.25), (0.5, 0.4, 1.0)]
)
def test_ramp(progress: float, length: float, wanted: float) -> None:
    assert ramp(progress, length) == pytest.approx(wanted)


@pytest.mark.parametrize("tie", list(Tie))
@pytest.mark.parametrize("which", ["labelled", "unlabelled"])
def test_empty_half_costs_nothing_and_stays_in_the_graph(
    batch: EmbeddedBatch, tie: Tie, which: str
) -> None:
    empty = tuple(torch.zeros(0, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    labels = batch.labels[:0] if which == "labelled" else batch.labels
    gone = {which: empty, f"{which}_rows": torch.arange(0)}
    batch = replace(batch, labels=labels, **gone)
    terms = ClusterEnergy(tie=tie, balance_weight=1.0, balance_targets=True)(batch)
    assert terms["loss"].isfinite()
    assert terms[which] == 0
    terms["loss"].backward()
    assert empty[0].grad is not None


def test_prior_divergence_equals_formula() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], dtype=torch.float64)
    mean, prior = [0.4, 0.5, 0.1], [0.5, 0.3, 0.2]
    wanted = sum(m * math.log(m / q) for m, q in zip(mean, prior, strict=True))
    assert prior_divergence(p, torch.tensor(prior)).item() == pytest.approx(wanted, abs=1e-6)
    entropy = -sum(m * math.log(m) for m in mean)
    assert prior_divergence(p).item() == pytest.approx(math.log(3) - entropy, abs=1e-12)
    assert prior_divergence(torch.eye(3)).item() == pytest.approx(0, abs=1e-6)


def test_prior_of_another_number_of_classes_is_refused() -> None:
    shares = torch.full((2, 3), 1 / 3)
    for use in (prior_divergence, balanced):
        with pytest.raises(InputError, match="2 shares for 3 classes"):
            use(shares, torch.tensor([0.5, 0.5]))


def test_balanced_targets_meet_the_prior() -> None:
    rng = torch.Generator().manual_seed(0)
    p = torch.softmax(3 * torch.randn(200, 4, generator=rng) + torch.tensor([4, 0, 0, 0]), dim=1)
    for prior in (None, torch.tensor([0.4, 0.3, 0.2, 0.1])):
        scaled = balanced(p, prior, iterations=100)
        torch.testing.assert_close(scaled.sum(dim=1), torch.ones(200))
        wanted = torch.full((4,), 0.25) if prior is None else prior
        torch.testing.assert_close(scaled.mean(dim=0), wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", 0.0),
        ("sharpening", -1.0),
        ("view_confidence", 1.5),
        ("prior", [0.5, 0.6]),
        ("tie", "loose"),
    ],
)
def test_refuses_options(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=str(value).strip("[]").split(",")[0]):
        ClusterEnergy(**{option: value})  # type: ignore[arg-type]


def test_class_means_and_the_hard_energy_equal_the_formula(batch: EmbeddedBatch) -> None:
    """Each class's mean, then the mean of the classes; d^2 in place of the soft-min."""
    c, w = batch.centres.tolist(), 0.9
    groups: dict[int, list[float]] = {}
    for x, v, y in zip(*(z.tolist() for z in batch.labelled), batch.labels.tolist(), strict=True):
        groups.setdefault(y, []).append((square(x, c[y]) + w * square(v, c[y])) / (1 + w))
    wanted = sum(sum(g) / len(g) for g in groups.values()) / len(groups)
    options = {"view_confidence": w, "reduction": Reduction.CLASS}
    value = labelled_energy(batch.labelled, batch.labels, batch.centres, **options)
    assert value.item() == pytest.approx(wanted, abs=1e-12)
    groups = {}
    for x, v in zip(*(z.tolist() for z in batch.unlabelled), strict=True):
        squares = [square(x, k) for k in c]
        at = squares.index(min(squares))
        groups.setdefault(at, []).append((squares[at] + w * square(v, c[at])) / (1 + w))
    assert len({len(g) for g in groups.values()}) > 1  # or both reductions would agree
    wanted = sum(sum(g) / len(g) for g in groups.values()) / len(groups)
    value = unlabelled_energy(
        batch.unlabelled, batch.centres, temperature=0.3, tie=Tie.HARD, hard=True, **options
    )
    assert value.item() == pytest.approx(wanted, abs=1e-12)
    whole = ClusterEnergy(
        temperature=0.3, tie="hard", hard=True, reduction="class", view_confidence=w,
        unlabelled_ramp=0.0, unlabelled_weight=2.0, balance_weight=0.0,
    )(batch)  # fmt: skip
    assert whole["unlabelled"].item() == pytest.approx(wanted, abs=1e-12)


def test_balanced_sharpened_targets_in_the_whole_objective(batch: EmbeddedBatch) -> None:
    """All options that the experiments use, with plain floats."""
    t, w, sharp = 0.3, 0.9, 0.5
    c = batch.centres.tolist()
    first, other = (z.tolist() for z in batch.unlabelled)
    p = [shares(x, c, t * sharp) for x in first]
    for _ in range(3):
        sums = [sum(row[k] for row in p) / len(p) for k in range(4)]
        p = [[row[k] * 0.25 / sums[k] for k in range(4)] for row in p]
        p = [[x / sum(row) for x in row] for row in p]
    terms = [
        (soft(x, c, t) + w * sum(q * square(v, k) for q, k in zip(row, c, strict=True))) / (1 + w)
        for x, v, row in zip(first, other, p, strict=True)
    ]
    labelled = labelled_energy(
        batch.labelled, batch.labels, batch.centres, view_confidence=w
    ).item()
    mean = [sum(shares(x, c, t)[k] for x in first + other) / 12 for k in range(4)]
    balance = math.log(4) + sum(m * math.log(m) for m in mean)
    found = ClusterEnergy(
        temperature=t, unlabelled_weight=2.0, unlabelled_ramp=0.8, view_confidence=w,
        balance_weight=0.7, sharpening=sharp, balance_targets=True,
    )(batch)  # fmt: skip
    assert found["unlabelled"].item() == pytest.approx(sum(terms) / 6, abs=1e-9)
    assert found["balance"].item() == pytest.approx(balance, abs=1e-9)
    wanted = labelled + 2.0 * (0.5 / 0.8) * sum(terms) / 6 + 0.7 * balance
    assert found["loss"].item() == pytest.approx(wanted, abs=1e-9)
