"""Tests of semcentres.evaluation.hierarchy against loops over single images."""

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pytest

from centre_builders.errors import InputError
from semcentres.evaluation.hierarchy import (
    class_precision_at,
    hierarchical_distance_at,
    image_precision,
    mistake_severity,
)
from semcentres.index import Index

# cat, dog; carp; boot, sandal
DISTANCES = np.array(
    [[0, 1, 2, 3, 3], [1, 0, 2, 3, 3], [2, 2, 0, 3, 3], [3, 3, 3, 0, 1], [3, 3, 3, 1, 0]]
)
SIMILARITY = 1 - DISTANCES / 3
FAR, ALIKE = DISTANCES.__getitem__, SIMILARITY.__getitem__
LABELS = np.repeat([0, 1, 2, 3, 4], [9, 4, 6, 1, 7])


def ranking(seed: int, labels: np.ndarray) -> np.ndarray:
    """Every image's other images in some order that favours its class a little."""
    rng = np.random.default_rng(seed)
    scores = SIMILARITY[labels][:, labels] + rng.standard_normal((len(labels), len(labels)))
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :-1]


def blocks_of(ids: np.ndarray, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(ids), size):
        rows = slice(start, min(start + size, len(ids)))
        yield rows, ids[rows]


def by_hand(ids: np.ndarray, labels: np.ndarray, ks: tuple[int, ...], ahp: int) -> list[float]:
    """The best ranking found by sorting a query's own gallery, and one trapezoid at a time."""
    totals = np.zeros(len(ks) + 1)
    for query, label in enumerate(labels):
        gained = [SIMILARITY[label, labels[i]] for i in ids[query]]
        best = sorted(gained, reverse=True)
        curve = [sum(gained[:k]) / sum(best[:k]) for k in range(1, max(*ks, ahp) + 1)]
        area = sum((curve[k] + curve[k + 1]) / 2 for k in range(ahp - 1)) / ahp
        totals += [*(curve[k - 1] for k in ks), area]
    return list(totals / len(labels))


def test_severity_is_the_mean_over_mistakes_only() -> None:
    predicted, labels = np.array([0, 1, 4, 2, 3, 0, 3]), np.array([0, 0, 0, 2, 4, 2, 3])
    assert mistake_severity(FAR, predicted, labels) == pytest.approx((1 + 3 + 1 + 2) / 4)
    assert mistake_severity(FAR, labels, labels) is None


def test_distance_and_precision_of_classes_equal_loops() -> None:
    rng = np.random.default_rng(0)
    ranked = np.array([rng.permutation(5)[:4] for _ in range(11)])
    labels = rng.integers(0, 5, 11)
    for k in (1, 3, 4):
        far = [DISTANCES[y, c] for y, row in zip(labels, ranked, strict=True) for c in row[:k]]
        got = sum(SIMILARITY[y, c] for y, r in zip(labels, ranked, strict=True) for c in r[:k])
        best = sum(
            max(sum(SIMILARITY[y, c] for c in order[:k]) for order in permutations(range(5)))
            for y in labels
        )
        ranks = {"ranks": (1, k)}
        found = hierarchical_distance_at(FAR, ranked, labels, **ranks)
        assert found[k] == pytest.approx(np.mean(far))
        found = class_precision_at(ALIKE, ranked, labels, **ranks)
        assert found[k] == pytest.approx(got / best)


def test_class_precision_is_that_of_making_better_mistakes_but_for_their_scale() -> None:
    """Their formula, read from run_xent.py: a sum over B images by a sum over K classes."""
    rng = np.random.default_rng(1)
    labels = np.tile(np.arange(5), 3)
    ranked = np.array([rng.permutation(5) for _ in labels])
    theirs_best = 1 - np.sort(DISTANCES, axis=1) / DISTANCES.max()
    gained = 1 - DISTANCES[ranked, labels[:, None]] / DISTANCES.max()
    theirs = gained[:, :3].sum() / theirs_best[:, :3].sum()
    ours = class_precision_at(ALIKE, ranked, labels, ranks=(3,))[3]
    assert theirs == pytest.approx(ours * len(labels) / 5)
    assert theirs > 1 > ours


def test_perfect_classifier_has_the_best_values() -> None:
    ranked = np.argsort(DISTANCES, axis=1, kind="stable")
    labels = np.arange(5)
    assert class_precision_at(ALIKE, ranked, labels, ranks=(1, 2, 5)) == {1: 1, 2: 1, 5: 1}
    distances = hierarchical_distance_at(FAR, ranked, labels, ranks=(1, 2))
    assert distances == pytest.approx({1: 0.0, 2: (1 + 1 + 2 + 1 + 1) / 5 / 2})


@pytest.mark.parametrize("block", [1, 8, 100])
@pytest.mark.parametrize("ahp", [2, 7, 26])
def test_image_precision_equals_loops(block: int, ahp: int) -> None:
    labels = np.random.default_rng(2).permutation(LABELS)
    ids = ranking(3, labels)
    found = image_precision(blocks_of(ids, block), labels, ALIKE, ranks=(1, 5, 12), ahp_rank=ahp)
    wanted = by_hand(ids, labels, (1, 5, 12), ahp)
    got = [*found.precision_at.values(), found.mean_average_precision]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_perfect_ranking_has_one_and_area_one_less_a_step() -> None:
    labels = np.random.default_rng(4).permutation(LABELS)
    similar = SIMILARITY[labels][:, labels].copy()
    np.fill_diagonal(similar, -1)
    perfect = np.argsort(-similar, axis=1)[:, :-1]
    found = image_precision([(slice(0, 27), perfect)], labels, ALIKE, ranks=(1, 9), ahp_rank=20)
    assert found.precision_at == pytest.approx({1: 1.0, 9: 1.0})
    assert found.mean_average_precision == pytest.approx(1 - 1 / 20)


def test_same_class_similarity_of_one_is_precision_at_k() -> None:
    """With sim = 1 within a class and 0 else, and k at most R, HP@k is the plain precision."""
    labels = np.repeat([0, 1, 2], [6, 7, 9])
    ids = ranking(5, labels)
    found = image_precision(
        [(slice(0, 22), ids)], labels, np.eye(3).__getitem__, ranks=(1, 4), ahp_rank=5
    )
    plain = {k: (labels[ids[:, :k]] == labels[:, None]).mean() for k in (1, 4)}
    assert found.precision_at == pytest.approx(plain)


def test_a_class_that_resembles_nothing_there_has_precision_one() -> None:
    labels = np.array([0, 0, 0, 1])
    ids = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    found = image_precision(
        [(slice(0, 4), ids)], labels, np.eye(2).__getitem__, ranks=(1,), ahp_rank=2
    )
    assert found.precision_at == {1: 1.0}


def test_joins_with_the_index() -> None:
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((27, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    near = Index.build(rows).search_blocks(rows, 12, exclude=np.arange(27), block=5)
    blocks = ((part, found.ids) for part, found in near)
    found = image_precision(blocks, LABELS, ALIKE, ranks=(1, 3), ahp_rank=12)
    cosines = rows.astype(np.float64) @ rows.T.astype(np.float64)
    np.fill_diagonal(cosines, -np.inf)
    wanted = by_hand(np.argsort(-cosines, axis=1)[:, :-1], LABELS, (1, 3), 12)
    got = [*found.precision_at.values(), found.mean_average_precision]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("rows", "keywords", "fault"),
    [
        ([slice(0, 2)], {}, "2 queries are missing, the first is row 2"),
        ([slice(0, 4), slice(1, 2)], {}, "queries 1 to 2 come twice"),
        ([slice(0, 4)], {"ahp_rank": 4}, r"ranks \[4\] of 3 other images; wanted 1 to 3"),
        ([slice(0, 4)], {"ranks": (1, 9)}, r"ranks \[9\] of 3 other images"),
    ],
)
def test_image_precision_refuses(rows: list[slice], keywords: dict[str, int], fault: str) -> None:
    ids = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    blocks = [(part, ids[part]) for part in rows]
    with pytest.raises(InputError, match=fault):
        image_precision(
            blocks, np.array([0, 0, 1, 1]), ALIKE, **{"ranks": (1,), "ahp_rank": 3} | keywords
        )


def test_refuses_too_few_neighbours_or_classes() -> None:
    ids = np.array([[1, 2], [0, 2], [0, 1], [0, 1]])
    with pytest.raises(InputError, match=r"ranks \[3\] of 2 neighbours a query"):
        image_precision([(slice(0, 4), ids)], np.zeros(4, int), ALIKE, ranks=(1,), ahp_rank=3)
    ranked, labels = np.array([[0, 1]]), np.array([0])
    for metric in (hierarchical_distance_at, class_precision_at):
        with pytest.raises(InputError, match=r"ranks \[1, 5, 10\] of 2 classes"):
            metric(ALIKE, ranked, labels)
