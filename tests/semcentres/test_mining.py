"""Tests of hard negatives from the whole training set: the hardest, and no planted false one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.memory import Memory
from semcentres.objectives.mining import MinedNegatives, hard_negatives
from semcentres.objectives.nt_xent import info_nce
from semcentres.softmin import assignment

# Centres 0 and 1 are 20 degrees apart, 2 and 3 at right angles to all.
CENTRES = F.normalize(
    torch.tensor([[1.0, 0, 0, 0], [0.94, 0.342, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), dim=1
)
OPTIONS = {"num": 5, "angle": 30.0, "confidence": 0.6, "temperature": 0.3}


def memory(num: int = 60, known: int = 12, seed: int = 0) -> tuple[Memory, Tensor]:
    """Images around four centres, few of them with a label; and all true classes."""
    rng = torch.Generator().manual_seed(seed)
    truth = torch.randint(4, (num,), generator=rng)
    noise = 0.15 * torch.randn(num, 4, generator=rng)
    labels = torch.where(torch.arange(num) < known, truth, -1)
    rows = F.normalize(CENTRES[truth] + noise, dim=1)
    return Memory(rows, labels, torch.ones(num, dtype=torch.bool), CENTRES, 0), truth


def by_hand(told: Memory, num: int, angle: float, confidence: float, t: float) -> list[list[int]]:
    """One anchor at a time, all candidates sorted."""
    z, c = told.embeddings.double().numpy(), told.centres.double().numpy()
    assigned, sure = [], []
    for row, label in zip(z, told.labels.tolist(), strict=True):
        weights = np.exp(2 * c @ row / t)
        assigned.append(label if label >= 0 else int(weights.argmax()))
        sure.append(label >= 0 or weights.max() / weights.sum() >= confidence)
    found = []
    for i in range(len(z)):
        scored = []
        for j in range(len(z)):
            a, b = assigned[i], assigned[j]
            degrees = np.degrees(np.arccos(np.clip(c[a] @ c[b], -1, 1)))
            both = sure[i] and sure[j] and bool(told.used[i]) and bool(told.used[j])
            if both and a != b and degrees > angle:
                scored.append((-(z[i] @ z[j]), j))
        ids = [j for _, j in sorted(scored)[:num]]
        found.append(ids + [-1] * (num - len(ids)))
    return found


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_equals_a_loop_over_pairs(angle: float) -> None:
    told, _ = memory()
    told = replace(told, used=torch.arange(60) % 7 != 3)
    found = hard_negatives(told, **(OPTIONS | {"angle": angle}))
    assert found.tolist() == by_hand(told, 5, angle, 0.6, 0.3)
    assert (found[3] == -1).all()


def test_planted_false_negatives_are_filtered() -> None:
    """Images beside the anchors: of their class, of a near class, and an ambiguous one.

    Each rule on its own is what keeps one kind out: without it the kind comes back.
    """
    told, _ = memory()
    twin = F.normalize(CENTRES[2] + torch.tensor([0, 0.05, 0, 0.02]), dim=0)
    between = F.normalize(0.98 * CENTRES[2] + CENTRES[3], dim=0)
    near = F.normalize(CENTRES[1] + torch.tensor([0.0, -0.1, 0.0, 0.0]), dim=0)
    planted = torch.stack([twin, twin, between, near])
    labels = torch.tensor([-1, -1, -1, 1])
    told = Memory(
        torch.cat([told.embeddings, planted]),
        torch.cat([told.labels, labels]),
        torch.ones(64, dtype=torch.bool),
        CENTRES,
        0,
    )
    of_2 = told.labels == 2
    of_0 = told.labels == 0
    found = hard_negatives(told, **OPTIONS)
    assert not torch.isin(found[of_2], torch.tensor([60, 61, 62])).any()
    assert not torch.isin(found[of_0], torch.tensor([63])).any()
    assert (found[62] == -1).all()
    loose = hard_negatives(told, **(OPTIONS | {"confidence": 0.0, "angle": 0.0, "num": 60}))
    assert torch.isin(loose[of_2], torch.tensor([62])).any()
    assert torch.isin(loose[of_0], torch.tensor([63])).any()


def test_without_an_angle_the_own_class_is_still_left_out() -> None:
    """Also where rounding puts a centre's cosine with itself below 1."""
    rng = torch.Generator().manual_seed(1)
    centres = F.normalize(torch.randn(40, 9, generator=rng), dim=1)
    assert (centres.square().sum(dim=1) < 1).any()
    labels = torch.randint(40, (300,), generator=rng)
    rows = F.normalize(centres[labels] + 0.05 * torch.randn(300, 9, generator=rng), dim=1)
    told = Memory(rows, labels, torch.ones(300, dtype=torch.bool), centres, 0)
    found = hard_negatives(told, **(OPTIONS | {"angle": 0.0}))
    assert (labels[found] != labels[:, None]).all()


def test_fewer_candidates_than_asked_are_padded() -> None:
    told = Memory(
        F.normalize(torch.eye(4) + 0.1, dim=1),
        torch.tensor([0, 2, 3, 3]),
        torch.ones(4, dtype=torch.bool),
        CENTRES,
        0,
    )
    found = hard_negatives(told, **(OPTIONS | {"num": 3}))
    assert (found < 0).sum(dim=1).tolist() == [0, 0, 1, 1]
    assert set(found[2].tolist()) == {0, 1, -1}


def batch(told: Memory) -> EmbeddedBatch:
    rng = torch.Generator().manual_seed(5)
    rows = [F.normalize(torch.randn(n, 4, generator=rng), dim=1) for n in (3, 3, 6, 6)]
    return EmbeddedBatch(
        labelled=(rows[0].requires_grad_(), rows[1]),
        labels=told.labels[:3],
        unlabelled=(rows[2], rows[3]),
        centres=told.centres,
        progress=0.0,
        labelled_rows=torch.arange(3),
        unlabelled_rows=torch.arange(30, 36),
    )


def test_loss_is_info_nce_over_the_mined_rows_for_both_kinds_of_anchors() -> None:
    told, _ = memory()
    objective = MinedNegatives(num_negatives=4, confidence=0.6, estimator="hard", beta=0.5)
    objective.before_step(0, lambda: told)
    given = batch(told)
    terms = objective(given)
    ids = hard_negatives(told, **(OPTIONS | {"num": 4}))[[0, 1, 2, *range(30, 36)]]
    first, second = (
        torch.cat([a, b]) for a, b in zip(given.labelled, given.unlabelled, strict=True)
    )
    negatives, kept = told.embeddings[ids.clamp(min=0)], ids >= 0
    options = {"temperature": 0.2, "kept": kept, "estimator": "hard", "beta": 0.5}
    wanted = [info_nce(a, p, negatives, **options) for a, p in ((first, second), (second, first))]
    torch.testing.assert_close(terms["loss"], (wanted[0] + wanted[1]) / 2)
    assert terms["mined"] == kept.any(dim=1).float().mean()
    terms["loss"].backward()


def test_triplet_by_hand() -> None:
    told, _ = memory()
    objective = MinedNegatives(num_negatives=2, confidence=0.6, margin=0.5)
    objective.before_step(0, lambda: told)
    given = batch(told)
    first, second = (
        torch.cat([a, b]).detach().numpy()
        for a, b in zip(given.labelled, given.unlabelled, strict=True)
    )
    ids = hard_negatives(told, **(OPTIONS | {"num": 2}))[[0, 1, 2, *range(30, 36)]]
    total, num = 0.0, 0
    for i, row in enumerate(ids.tolist()):
        for j in row:
            for a, p in ((first, second), (second, first)):
                if j >= 0:
                    n = told.embeddings[j].numpy()
                    total += max(0.0, 0.5 + a[i] @ n - a[i] @ p[i])
                    num += 1
    assert objective(given)["loss"].item() == pytest.approx(total / num, rel=1e-5)


def test_mines_anew_every_so_often_and_a_resumed_run_goes_on_with_what_was_mined() -> None:
    told, _ = memory()
    objective = MinedNegatives(refresh_every=3, confidence=0.6)
    calls = []
    for step in range(7):
        objective.before_step(step, lambda: calls.append(step) or told)  # noqa: B023
    assert calls == [0, 3, 6]
    again = MinedNegatives(refresh_every=3, confidence=0.6)
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again(batch(told))["loss"], objective(batch(told))["loss"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_negatives": 0}, "at least 1, got 0 and 500"),
        ({"refresh_every": 0}, "got 16 and 0"),
        ({"angle": 180.0}, r"angle must be in \[0, 180\) degrees, got 180"),
        ({"confidence": 1.5}, r"confidence must be in \[0, 1\], got 1\.5"),
        ({"assignment_temperature": 0.0}, "assignment_temperature must be positive, got 0"),
        ({"margin": 0.0}, "margin must be positive or null, got 0"),
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MinedNegatives(**options)


def test_assignment_is_sure_at_a_centre() -> None:
    """So that the confidences of the tests above mean something."""
    p = assignment(CENTRES, CENTRES, temperature=0.3)
    assert p[2, 2] > 0.6 > p[0, 0]
