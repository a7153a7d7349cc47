"""Approximate indexes of more rows than are compared one by one, as wide as the recall asked needs.

Dimensions: N rows of the index, n of a block, D columns, k neighbours.
"""

import logging
from collections.abc import Callable
from typing import Literal, cast, get_args

import numpy as np
from jaxtyping import Float, Float32, Int64

from centre_builders.errors import UsageError
from semcentres.approximate_index import ApproximateIndex, Recall
from semcentres.faiss_kinds import (
    MOST_EF,
    POINTS_PER_LIST,
    SEED,
    Faiss,
    graph_of,
    is_graph,
    num_lists,
    trained_lists,
)
from semcentres.index import BLOCK, Index
from semcentres.neighbours import unit_rows
from semcentres.shards import Shard, Shards

log = logging.getLogger(__name__)

# Above it `auto` takes lists. There, in 64 columns on one core, a query takes 0.38 ms, in lists at
# recall 0.97 0.14 ms, and they take 11 s to build: as long as they save in 46,000 queries.
EXACT_ROWS = 200_000
SAMPLE = 1000  # rows that recall is measured on, and at most half of all
MOST_LISTS = 4  # one list in so many is searched at most: beyond, all rows are nearly as fast
Kind = Literal["auto", "flat", "ivf", "hnsw"]


def build_index(
    embeddings: Float[np.ndarray, "N D"], *, kind: Kind = "auto", recall: float = 0.95, k: int = 10
) -> Index | ApproximateIndex:
    """Return an index of unit rows, exact up to a size, above it as exact as asked.

    Recall@k is measured against exact search on a sample of the rows, and the search widened until
    it is as asked; a warning says where it stays below.

    Args:
        embeddings: row i is found under id i.
        kind: "flat" is exact; "ivf" an inverted file (Jegou et al. 2011, IVFADC without the
            codes), "hnsw" a graph (Malkov & Yashunin 2018, arXiv:1603.09320); "auto" is "flat" up
            to `EXACT_ROWS`, else "ivf".
        recall: wanted, in (0, 1]; exact search has 1.
        k: neighbours that recall is measured for, from 1.

    Raises:
        InputError: an argument is out of range, or the rows are not as of `Index.build`.
    """
    check_wanted(kind, recall, k)
    if _is_exact(kind, len(embeddings)):
        return Index.build(embeddings)
    rows = unit_rows("embeddings", embeddings)
    starts = range(0, len(rows), BLOCK)
    shards = [Shard(start, Index.over(rows[start : start + BLOCK])) for start in starts]
    return _filled(kind, Shards(shards, *rows.shape), recall, k)


def build_over(
    rows: Shards, *, kind: Kind = "auto", recall: float = 0.95, k: int = 10
) -> Index | ApproximateIndex:
    """Return `build_index` of rows that lie in shards; beside it a block of them is in memory."""
    check_wanted(kind, recall, k)
    return Index(rows.vectors) if _is_exact(kind, len(rows)) else _filled(kind, rows, recall, k)


def _is_exact(kind: Kind, num: int) -> bool:
    return kind == "flat" or (kind == "auto" and num <= EXACT_ROWS) or num < 2


def check_wanted(kind: str, recall: float, k: int = 10) -> Kind:
    """Return the kind, if `build_index` takes such arguments; to be asked before long work.

    Raises:
        UsageError: an argument is out of range.
    """
    if not 0 < recall <= 1:
        raise UsageError(f"recall must be above 0 and at most 1, got {recall}")
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    if kind not in get_args(Kind):
        raise UsageError(f"kind must be auto, flat, ivf or hnsw, got {kind!r}")
    return cast(Kind, kind)


def _filled(kind: Kind, rows: Shards, wanted: float, k: int) -> ApproximateIndex:
    """Return the index of all rows with the least width, by doubling, that has the recall.

    Measured before the sample is added: a row of a graph has its neighbours for links, and finds
    them where a new query would not.
    """
    found = graph_of(rows.dimension) if kind == "hnsw" else lists_for(rows)
    order = np.random.default_rng(SEED).permutation(len(rows))
    sample, rest = np.split(order, [min(SAMPLE, len(rows) // 2)])
    for ids in np.split(rest, range(BLOCK, len(rest), BLOCK)):
        found.add_with_ids(rows.rows(ids), ids)
    queries = rows.rows(sample)
    last = _last_of_rest(rows, queries, sample, k)

    def recall_of(width: int) -> float:
        ids = ApproximateIndex(found, width, Recall(0.0, k, 0)).search(queries, k).ids
        # By cosines, not by ids: of rows as near as the last true neighbour any is right.
        return float((exact_cosines(rows, queries, ids) >= last).mean())

    width, value = widen(found, k, wanted, recall_of)
    found.add_with_ids(queries, sample)
    name = "HNSW, efSearch" if is_graph(found) else f"IVF {found.nlist} lists, nprobe"
    tell_recall(f"{name} {width}", wanted, measured := Recall(value, k, len(sample)))
    return ApproximateIndex(found, width, measured)


def lists_for(rows: Shards) -> Faiss:
    """Return an empty inverted file, its lists learnt from a sample of the rows."""
    return trained_lists(
        rows.rows(draw(len(rows), POINTS_PER_LIST * num_lists(len(rows)))), len(rows)
    )


def draw(num: int, wanted: int) -> Int64[np.ndarray, " S"]:
    """Return some of the rows, in order, so that a shard's are read together."""
    drawn = np.random.default_rng(SEED).choice(num, min(num, wanted), replace=False)
    return np.sort(drawn).astype(np.int64)


def exact_cosines(
    rows: Shards, queries: Float32[np.ndarray, "Q D"], ids: Int64[np.ndarray, "Q k"]
) -> Float32[np.ndarray, "Q k"]:
    """Return the cosines of queries and rows of their ids, with the bits of exact search."""
    near = Index(rows.rows(ids.ravel()))
    return near.score(queries, np.arange(ids.size).reshape(ids.shape))


def _last_of_rest(
    rows: Shards, queries: Float32[np.ndarray, "Q D"], sample: Int64[np.ndarray, " Q"], k: int
) -> Float32[np.ndarray, "Q 1"]:
    """Return the k-th cosine of each query among the rows without the sample."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    for shard in rows.shards:
        at = sample[(sample >= shard.first) & (sample < shard.first + len(shard.index))]
        others = np.delete(shard.index.vectors, at - shard.first, axis=0)
        if len(others):
            near = Index(others).search(queries, k).cosines
            best = np.sort(np.hstack([best, near]), axis=1)[:, -k:]
    return best[:, :1]


def widen(
    found: Faiss, k: int, wanted: float, recall_of: Callable[[int], float]
) -> tuple[int, float]:
    """Return the least width, by doubling, that has the recall wanted, and the recall it has."""
    width, most = (k, MOST_EF) if is_graph(found) else (1, max(1, found.nlist // MOST_LISTS))
    while (value := recall_of(width)) < wanted and width < most:
        width = min(2 * width, most)
    return width, value


def tell_recall(name: str, wanted: float, recall: Recall) -> None:
    """Say what a build found of its own index."""
    told = f"{name}, recall@{recall.k} {recall.value:.3f}"
    log.info("index: %s on %s sampled rows", told, f"{recall.num_rows:,}")
    if recall.value < wanted:
        log.warning("index: %s stays below the %s asked; use kind=flat", told, wanted)
