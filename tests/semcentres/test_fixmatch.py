"""Tests of FixMatch over the centres against loops over single images, in float64."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.fixmatch import FixMatch, pseudo_label_loss, pseudo_labels


def unit(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1)


@pytest.fixture
def batch() -> EmbeddedBatch:
    """L=5, U=6, K=4, D=3, three views."""
    return EmbeddedBatch(
        labelled=(unit(5, 3, seed=0), unit(5, 3, seed=1), unit(5, 3, seed=2)),
        labels=torch.tensor([1, 0, 3, 0, 1]),
        unlabelled=(unit(6, 3, seed=3), unit(6, 3, seed=4), unit(6, 3, seed=5)),
        centres=unit(4, 3, seed=6),
        progress=0.5,
        labelled_rows=torch.arange(5),
        unlabelled_rows=torch.arange(5, 11),
    )


def shares(z: Tensor, centres: Tensor, t: float) -> list[float]:
    weights = [math.exp(float(z @ c) / t) for c in centres]
    return [w / sum(weights) for w in weights]


@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.0])
def test_equals_loops(batch: EmbeddedBatch, threshold: float) -> None:
    t, labelled, unlabelled, sure = 0.5, 0.0, 0.0, 0
    for view in batch.labelled:
        for z, label in zip(view, batch.labels.tolist(), strict=True):
            labelled -= math.log(shares(z, batch.centres, t)[label]) / 15
    for i in range(6):
        p = shares(batch.unlabelled[0][i], batch.centres, t)
        if max(p) >= threshold:
            sure += 1
            for view in batch.unlabelled[1:]:
                own = shares(view[i], batch.centres, t)
                unlabelled -= math.log(own[p.index(max(p))]) / 12
    terms = FixMatch(sharpness=2.0, threshold=threshold, unlabelled_weight=0.7)(batch)
    assert terms["labelled"].item() == pytest.approx(labelled, rel=1e-6)
    assert terms["unlabelled"].item() == pytest.approx(unlabelled, rel=1e-6)
    assert terms["loss"].item() == pytest.approx(labelled + 0.7 * unlabelled, rel=1e-6)
    assert terms["sure"].item() == pytest.approx(sure / 6)


def test_some_guesses_are_sure_and_some_are_not(batch: EmbeddedBatch) -> None:
    """So that the threshold of the test above matters."""
    found = pseudo_labels(batch.unlabelled[0], batch.centres, temperature=0.5, threshold=0.6)
    assert 0 < found.sure.sum() < 6


def test_at_even_odds_the_threshold_itself_is_sure_and_costs_log_k() -> None:
    centres = torch.eye(5)[:4]
    view = torch.eye(5)[4:].repeat(3, 1)  # orthogonal to all: 1/4 each, exactly
    for threshold, sure in ((0.25, True), (0.2500001, False)):
        guessed = pseudo_labels(view, centres, temperature=0.5, threshold=threshold)
        assert (guessed.sure == sure).all()
        loss = pseudo_label_loss([view], guessed, centres, temperature=0.5)
        assert loss.item() == pytest.approx(math.log(4) if sure else 0)


def test_order_of_images_and_of_centres_changes_nothing(batch: EmbeddedBatch) -> None:
    images, order = torch.tensor([4, 0, 5, 2, 1, 3]), torch.tensor([2, 3, 1, 0])
    moved = replace(
        batch,
        unlabelled=tuple(v[images] for v in batch.unlabelled),
        centres=batch.centres[order],
        labels=order.argsort()[batch.labels],
    )
    objective = FixMatch(sharpness=2.0, threshold=0.6)
    torch.testing.assert_close(objective(moved)["loss"], objective(batch)["loss"])


def test_gradient_reaches_the_strong_views_alone(batch: EmbeddedBatch) -> None:
    weak, strong, _ = (view.clone().requires_grad_() for view in batch.unlabelled)
    centres = batch.centres.clone().requires_grad_()
    guessed = pseudo_labels(weak, centres, temperature=0.5, threshold=0.5)

    def loss(z: Tensor) -> Tensor:
        return pseudo_label_loss([z], guessed, centres, temperature=0.5)

    assert torch.autograd.gradcheck(loss, strong)
    loss(strong).backward()
    assert weak.grad is None
    assert centres.grad is None


@pytest.mark.parametrize("which", ["labelled", "unlabelled"])
def test_empty_half_costs_nothing_and_stays_in_the_graph(batch: EmbeddedBatch, which: str) -> None:
    empty = tuple(torch.zeros(0, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    gone = {which: empty, f"{which}_rows": torch.arange(0)}
    if which == "labelled":
        gone["labels"] = batch.labels[:0]
    terms = FixMatch(threshold=0.1)(replace(batch, **gone))
    assert terms[which] == 0
    assert terms["loss"].isfinite()
    terms["loss"].backward()
    assert empty[1].grad is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sharpness": 0.0}, "sharpness must be positive, got 0"),
        ({"threshold": 1.1}, r"threshold must be in \[0, 1\], got 1\.1"),
        ({"unlabelled_weight": -1.0}, "unlabelled_weight must be at least 0, got -1"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FixMatch(**options)


def test_refuses_a_weak_view_alone(batch: EmbeddedBatch) -> None:
    with pytest.raises(ValueError, match="views must be two or more, got 1"):
        FixMatch()(replace(batch, unlabelled=batch.unlabelled[:1]))
