"""Tests of semcentres.evaluation.retrieval against loops and pytorch-metric-learning."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from centre_builders.errors import InputError
from semcentres.evaluation.retrieval import num_neighbours, num_relevant, retrieval_metrics
from semcentres.index import Index

UNEVEN = np.repeat([4, 0, 7, 2, 9], [1, 23, 2, 40, 1])


def embeddings(labels: np.ndarray, seed: int, columns: int = 6) -> np.ndarray:
    """Noisy copies of one direction a class."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((labels.max() + 1, columns))
    rows = directions[labels] + 0.9 * rng.standard_normal((len(labels), columns))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def ranking(rows: np.ndarray) -> np.ndarray:
    """Every image's other images, best first, from float64 cosines."""
    cosines = rows.astype(np.float64) @ rows.T.astype(np.float64)
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1)[:, :-1]


def blocks_of(ids: np.ndarray, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(ids), size):
        rows = slice(start, min(start + size, len(ids)))
        yield rows, ids[rows]


def by_hand(ids: np.ndarray, labels: np.ndarray, ranks: tuple[int, ...]) -> list[float]:
    """The formulas of the module's docstring, an image and a neighbour at a time."""
    sums, queries = [0.0] * (len(ranks) + 2), 0
    for query, label in enumerate(labels):
        relevant = [labels[i] == label for i in ids[query]]
        size = sum(relevant)
        if size == 0:
            continue
        queries += 1
        recalls = [float(any(relevant[:rank])) for rank in ranks]
        precisions = [sum(relevant[: i + 1]) / (i + 1) for i in range(size)]
        average = sum(p for p, hit in zip(precisions, relevant, strict=False) if hit) / size
        found = [*recalls, sum(relevant[:size]) / size, average]
        sums = [a + b for a, b in zip(sums, found, strict=True)]
    return [total / queries for total in sums]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block", [1, 13, 100])
def test_equals_formulas(seed: int, block: int) -> None:
    labels = np.random.default_rng(seed).permutation(UNEVEN)
    ids = ranking(embeddings(labels, seed))
    found = retrieval_metrics(blocks_of(ids, block), labels, ranks=(1, 4, 11))
    values = [*found.recall_at.values(), found.r_precision, found.map_at_r]
    np.testing.assert_allclose(values, by_hand(ids, labels, (1, 4, 11)), rtol=1e-12)
    assert list(found.recall_at) == [1, 4, 11]
    assert (found.num_queries, found.num_alone) == (65, 2)


@pytest.mark.parametrize("labels", [UNEVEN, np.arange(90) % 7, np.arange(40) // 2])
def test_equals_pytorch_metric_learning(labels: np.ndarray) -> None:
    labels = np.random.default_rng(1).permutation(labels)
    rows = embeddings(labels, 2)
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    oracle = AccuracyCalculator(include=names, k="max_bin_count", device=torch.device("cpu"))
    wanted = oracle.get_accuracy(torch.from_numpy(rows), torch.from_numpy(labels))
    blocks = Index.build(rows).search_blocks(
        rows, num_neighbours(labels), exclude=np.arange(len(rows)), block=17
    )
    found = retrieval_metrics(((part, near.ids) for part, near in blocks), labels)
    values = (found.recall_at[1], found.r_precision, found.map_at_r)
    assert values == pytest.approx([wanted[name] for name in names], abs=1e-5)


def test_another_gallery_equals_pytorch_metric_learning() -> None:
    """Also with query classes that the gallery lacks, which count for nothing."""
    rng = np.random.default_rng(3)
    gallery, labels = rng.integers(0, 7, 80), rng.integers(0, 9, 31)
    there, rows = embeddings(gallery, 4), embeddings(labels, 4)
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    oracle = AccuracyCalculator(include=names, k="max_bin_count", device=torch.device("cpu"))
    wanted = oracle.get_accuracy(*map(torch.from_numpy, (rows, labels, there, gallery)))
    k = num_neighbours(labels, gallery=gallery)
    blocks = Index.build(there).search_blocks(rows, k, block=13)
    found = retrieval_metrics(((p, near.ids) for p, near in blocks), labels, gallery=gallery)
    values = (found.recall_at[1], found.r_precision, found.map_at_r)
    assert values == pytest.approx([wanted[name] for name in names], abs=1e-5)
    assert found.num_alone == int((labels > 6).sum())


def test_perfect_ranking_scores_one_and_reversed_has_closed_form() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    perfect = np.array([[1, 2, 3, 4, 5], [0, 2, 3, 4, 5], [0, 1, 3, 4, 5]])
    ids = np.vstack([perfect, (5 - perfect)[::-1]])
    found = retrieval_metrics([(slice(0, 6), ids)], labels)
    assert (found.recall_at, found.r_precision, found.map_at_r) == ({1: 1, 5: 1, 10: 1}, 1, 1)
    reversed_ = retrieval_metrics([(slice(0, 6), ids[:, ::-1])], labels, ranks=(1, 3, 4))
    assert reversed_.recall_at == {1: 0, 3: 0, 4: 1}
    assert (reversed_.r_precision, reversed_.map_at_r) == (0, 0)


def test_average_precision_counts_early_ranks_for_more() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    # R = 2 for image 0: a hit at rank 2 alone gives (1/2) / 2, at rank 1 alone 1 / 2.
    ids = np.array([[3, 1, 2, 4], [3, 0, 2, 4], [3, 0, 1, 4], [0, 1, 2, 4], [0, 1, 2, 3]])
    late = retrieval_metrics([(slice(0, 5), ids)], labels)
    early_ids = ids[:, [1, 0, 2, 3]]
    early = retrieval_metrics([(slice(0, 5), early_ids)], labels)
    assert late.map_at_r == pytest.approx(3 * 0.25 / 5)
    assert early.map_at_r == pytest.approx(3 * 0.5 / 5)
    assert early.r_precision == late.r_precision


def test_does_not_depend_on_class_numbers_or_order() -> None:
    rows = embeddings(UNEVEN, 5)
    order = np.random.default_rng(6).permutation(len(rows))
    plain = retrieval_metrics([(slice(0, len(rows)), ranking(rows))], UNEVEN)
    moved = ranking(rows[order])
    renamed = retrieval_metrics([(slice(0, len(rows)), moved)], 100 - UNEVEN[order])
    assert renamed.map_at_r == pytest.approx(plain.map_at_r)
    assert renamed.recall_at == pytest.approx(plain.recall_at)


def test_counts_relevant_images_and_needed_neighbours() -> None:
    labels = np.array([5, 3, 5, 5, 8])
    assert num_relevant(labels).tolist() == [2, 0, 2, 2, 0]
    assert num_neighbours(labels, (1,)) == 2
    assert num_neighbours(labels, (1, 3)) == 3
    assert num_neighbours(labels, (1, 10)) == 4


@pytest.mark.parametrize(
    ("rows", "labels", "fault"),
    [
        ([slice(0, 2)], [0, 0, 1, 1], "2 queries are missing, the first is row 2"),
        ([slice(0, 4), slice(1, 2)], [0, 0, 1, 1], "queries 1 to 2 come twice"),
        ([slice(0, 4)], [0, 1, 2, 3], "every image is alone"),
    ],
)
def test_refuses(rows: list[slice], labels: list[int], fault: str) -> None:
    ids = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    with pytest.raises(InputError, match=fault):
        retrieval_metrics([(part, ids[part]) for part in rows], np.array(labels))


def test_refuses_too_few_neighbours() -> None:
    with pytest.raises(InputError, match="2 neighbours a query; search for 3"):
        retrieval_metrics([(slice(0, 4), np.zeros((4, 2), np.int64))], np.zeros(4, np.int64))
