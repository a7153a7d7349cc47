"""Recall@k, R-precision and MAP@R of one pass over neighbours.

The gallery is the queries themselves, each left out of its own search, or other images. With R
the number of gallery images of the query's class, and rel_i = 1 where its i-th neighbour is
of that class:

    recall@k    = 1 if any of rel_1 .. rel_k
    R-precision = (1/R) sum_{i<=R} rel_i
    AP@R        = (1/R) sum_{i<=R} rel_i (1/i) sum_{j<=i} rel_j

and every metric is the mean over the queries with R > 0: the others can find nothing. Musgrave et
al. 2020 (arXiv:2003.08505) define MAP@R; pytorch-metric-learning's `AccuracyCalculator` has the
same values, where precision_at_1 is recall@1.

Dimensions: N queries, M images of another gallery, B queries of a block, k neighbours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from centre_builders.errors import InputError

RANKS = (1, 5, 10)
Gallery = Int[np.ndarray, " M"] | None


@dataclass(frozen=True)
class RetrievalMetrics:
    """Means over queries, in [0, 1].

    Attributes:
        recall_at: by rank.
        r_precision: of the first R neighbours, those of the query's class.
        map_at_r: as R-precision, but early ranks count for more.
        num_queries: the denominator, queries with at least one gallery image of their class.
        num_alone: queries left out, without any.
    """

    recall_at: dict[int, float]
    r_precision: float
    map_at_r: float
    num_queries: int
    num_alone: int


def num_relevant(labels: Int[np.ndarray, " N"], gallery: Gallery = None) -> Int64[np.ndarray, " N"]:
    """Return R, the number of (other) gallery images of each query's class."""
    if gallery is None:
        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return counts[inverse] - 1
    classes, counts = np.unique(gallery, return_counts=True)
    place = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    return np.where(classes[place] == labels, counts[place], 0)


def num_neighbours(
    labels: Int[np.ndarray, " N"], ranks: Sequence[int] = RANKS, gallery: Gallery = None
) -> int:
    """Return the k that `retrieval_metrics` needs: the largest R or rank that there can be."""
    most = len(labels) - 1 if gallery is None else len(gallery)
    return min(max(int(num_relevant(labels, gallery).max()), *ranks), most)


def retrieval_metrics(
    blocks: Iterable[tuple[slice, Int64[np.ndarray, "_B _k"]]],
    labels: Int[np.ndarray, " N"],
    *,
    ranks: Sequence[int] = RANKS,
    gallery: Gallery = None,
) -> RetrievalMetrics:
    """Return the metrics of N images that search for one another, or in another gallery.

    Args:
        blocks: queries, as rows of `labels`, and the ids of their neighbours, best first, the
            query itself left out; at least `num_neighbours` columns. Every query comes once;
            only one block is held at a time.
        labels: class of each query.
        ranks: the k of recall@k.
        gallery: class of each image that was searched; None where it is the queries.

    Raises:
        InputError: a query is missing or comes twice, there are too few neighbours, or every
            image is alone in its class.
    """
    needed, relevant = num_neighbours(labels, ranks, gallery), num_relevant(labels, gallery)
    classes = labels if gallery is None else gallery
    found = np.full((len(labels), len(ranks) + 2), np.nan)
    for rows, ids in blocks:
        if ids.shape[1] < needed:
            raise InputError(f"{ids.shape[1]} neighbours a query; search for {needed}")
        if not np.isnan(found[rows]).all():
            raise InputError(f"queries {rows.start} to {rows.stop} come twice; give each once")
        matches = classes[ids[:, :needed]] == labels[rows, None]
        found[rows] = _per_query(matches, relevant[rows], ranks)
    return _mean(found, relevant > 0, ranks)


def _per_query(
    matches: Bool[np.ndarray, "B k"], relevant: Int64[np.ndarray, " B"], ranks: Sequence[int]
) -> Float64[np.ndarray, "B metrics"]:
    place = np.arange(1, matches.shape[1] + 1)
    counted = matches & (place <= relevant[:, None])
    precision = np.cumsum(counted, axis=1) / place
    # Not relevant itself, which is 0 for an image that is alone in its class.
    size = np.maximum(relevant, 1)
    recalls = [matches[:, :rank].any(axis=1) for rank in ranks]
    r_precision = counted.sum(axis=1) / size
    return np.stack([*recalls, r_precision, (precision * counted).sum(axis=1) / size], axis=1)


def _mean(
    found: Float64[np.ndarray, "N metrics"], kept: Bool[np.ndarray, " N"], ranks: Sequence[int]
) -> RetrievalMetrics:
    missing = np.flatnonzero(np.isnan(found[:, 0]))
    if missing.size:
        raise InputError(f"{missing.size} queries are missing, the first is row {missing[0]}")
    if not kept.any():
        raise InputError("every image is alone in its class; retrieval needs two of some class")
    *recalls, r_precision, map_at_r = found[kept].mean(axis=0).tolist()
    alone = int((~kept).sum())
    recall_at = dict(zip(ranks, recalls, strict=True))
    return RetrievalMetrics(recall_at, r_precision, map_at_r, int(kept.sum()), alone)
