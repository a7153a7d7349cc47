"""Exact nearest rows by matrix products: many pairs are ruled out, the rest scored one by one.

The last bits of a matrix product depend on where a row stands in its matrix. So products only
choose candidates, and a score is that of a function of the two vectors alone. A query's answer
stands where it is proven that no other row can be in it; else more rows are scored, at last all.

Dimensions: N rows in G groups, Q queries, B queries at once, D columns, k neighbours, m candidates.
"""

# torch comes first: see index.py.
import torch  # isort: skip

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

GROUP = 16  # rows that share one maximum, where k is small enough
LEAST = 4  # rows for which maxima are worth taking; of fewer each stands for itself
EXTRA = 8  # groups beyond k: enough to prove nearly all answers
FEW = 4  # candidates are chosen where they are at most one row in so many; else all are scored
TILE = 1 << 10  # rows of one product, whose scores stay in a processor's cache
BLOCK = 512  # queries of one product
BUDGET = 1 << 23  # numbers held at once
NO_ROWS = np.empty(0, np.int64)

Rows = Float32[np.ndarray, "N D"]
Queries = Float32[np.ndarray, "B D"]
Keys = Int64[np.ndarray, "B _k"]
Score = Callable[[Queries, Int64[np.ndarray, "B m"]], Float32[np.ndarray, "B m"]]


def nearest(
    rows: Rows, queries: Float32[np.ndarray, "Q D"], k: int, score: Score, longest: float
) -> tuple[Int64[np.ndarray, "Q k"], Float32[np.ndarray, "Q k"]]:
    """Return ids and scores of the k best rows, by falling score, equal scores by rising id.

    Args:
        rows: fewer than 2^32.
        queries: of the same columns.
        k: from 1 to N.
        score: inner products of each query with the rows of its ids, summed in float32 in any
            order that depends on the pair alone.
        longest: no vector is longer.
    """
    group = min(GROUP, len(rows) // (FEW * (k + EXTRA)))
    if group == 0:
        return unpack(_of_all(len(rows), queries, k, score))
    group = group if group >= LEAST else 1
    keys = np.empty((len(queries), k), np.int64)
    margin = error_bound(rows.shape[1], longest)
    # Of more rows there are more maxima a query, and fewer queries at once.
    for part in _parts(len(queries), min(BLOCK, BUDGET * group // len(rows))):
        keys[part] = _of_groups(rows, queries[part], k, score, group, margin)
    return unpack(keys)


def nearest_among(
    candidates: Int64[np.ndarray, "Q m"],
    bounds: Float32[np.ndarray, " Q"],
    queries: Float32[np.ndarray, "Q D"],
    k: int,
    score: Score,
    longest: float,
) -> tuple[Int64[np.ndarray, "Q k"], Float32[np.ndarray, "Q k"], Bool[np.ndarray, " Q"]]:
    """Return ids and scores of the k best candidates, and whether no other row can be better.

    Args:
        candidates: k rows at least for each query.
        bounds: no other row has a larger float32 inner product with the query, in some order.
        queries: as many.
        k: as in `nearest`.
        score: likewise.
        longest: likewise.
    """
    ids, scores = unpack(_best(queries, candidates, k, score))
    floor = scores[:, -1].astype(np.float64) - error_bound(queries.shape[1], longest)
    return ids, scores, bounds < floor


def error_bound(num_columns: int, longest: float) -> float:
    """Return how far two float32 inner products of the same pair can be apart.

    A sum of D products, rounded after each step in whatever order, fused or not, is within
    g sum_i |x_i y_i| of the true one, g = Du / (1 - Du) and u = 2^-24 (Higham 2002, Accuracy and
    Stability of Numerical Algorithms, section 3.1), and that sum is at most |x| |y|. Two such are
    twice as far apart. The last term is for what is below the normal numbers, even if flushed.
    """
    unit = num_columns * 2.0**-24
    return 2 * (unit / (1 - unit) * longest**2 + num_columns * 2.0**-125)


def _of_groups(
    rows: Rows, queries: Queries, k: int, score: Score, group: int, margin: float
) -> Keys:
    """Return the best keys, scoring the rows of the groups with the largest maxima."""
    maxima = _maxima(rows, queries, group)
    keys, open_, wanted = np.empty((len(queries), k), np.int64), np.arange(len(queries)), k + EXTRA
    while len(open_):
        best, groups = maxima[open_].topk(wanted + 1, dim=1, sorted=False)
        tail = np.arange(len(rows) // group * group, len(rows))
        keys[open_] = _best(queries[open_], groups.numpy(), k, score, group, tail)
        # A row of a group that is not chosen has a product of at most the least maximum. Where that
        # is below `floor`, its score is below the k-th here. Not <=: it could tie with a lower id.
        floor = unpack(keys[open_, -1:])[1].astype(np.float64) - margin
        unproven = ~(best.amin(dim=1, keepdim=True).numpy() < floor)[:, 0]
        open_, floor = open_[unproven], floor[unproven]
        # So many groups prove the answer: the k-th score does not fall when more rows are scored.
        needed = (maxima[open_] >= torch.from_numpy(floor)).sum(dim=1).numpy()
        few = FEW * needed * group <= len(rows)
        keys[open_[~few]] = _of_all(len(rows), queries[open_[~few]], k, score)
        open_, wanted = open_[few], needed[few].max(initial=0)
    return keys


def _maxima(rows: Rows, queries: Queries, group: int) -> Tensor:
    """Return the largest product [B G] of each query with each whole group of rows."""
    # All by torch: the waiting threads of two libraries take the processor from one another, which
    # with NumPy's products made both ten times slower. But it may have been told to multiply in
    # fewer bits than the margin is for.
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # not in its stubs
    told, matmul.fp32_precision = matmul.fp32_precision, "ieee"
    try:
        return _products(torch.from_numpy(rows), torch.from_numpy(queries), group)
    finally:
        matmul.fp32_precision = told


def _products(rows: Tensor, queries: Tensor, group: int) -> Tensor:
    if group == 1:
        return queries @ rows.T
    num_groups, step = len(rows) // group, max(1, TILE // group)
    maxima = torch.empty(num_groups, len(queries))
    products = torch.empty(step * group, len(queries))
    for part in _parts(num_groups, step):
        tile = rows[part.start * group : part.stop * group]
        torch.mm(tile, queries.T, out=products[: len(tile)])
        torch.amax(products[: len(tile)].view(-1, group, len(queries)), dim=1, out=maxima[part])
    return maxima.T.contiguous()


def _of_all(num_rows: int, queries: Queries, k: int, score: Score) -> Keys:
    """Return the best keys, scoring every row."""
    step = max(TILE, k)
    keys = np.empty((len(queries), k), np.int64)
    for part in _parts(len(queries), BUDGET // (4 * (k + step))):
        best = np.empty((part.stop - part.start, 0), np.int64)
        for tile in _parts(num_rows, step):
            ids = np.tile(np.arange(tile.start, tile.stop), (len(best), 1))
            best = _first(np.concatenate([best, pack(score(queries[part], ids), ids)], axis=1), k)
        keys[part] = np.sort(best, axis=1)
    return keys


def _best(
    queries: Float32[np.ndarray, "Q D"],
    groups: Int64[np.ndarray, "Q m"],
    k: int,
    score: Score,
    group: int = 1,
    tail: Int64[np.ndarray, " t"] = NO_ROWS,
) -> Keys:
    """Return the best keys of the rows of each query's groups and of the tail, in no group."""
    keys = np.empty((len(queries), k), np.int64)
    for part in _parts(len(queries), BUDGET // (4 * (groups.shape[1] * group + len(tail)))):
        members = groups[part, :, None] * group + np.arange(group)
        num = part.stop - part.start
        ids = np.concatenate([members.reshape(num, -1), np.tile(tail, (num, 1))], axis=1)
        keys[part] = _first(pack(score(queries[part], ids), ids), k)
    return np.sort(keys, axis=1)


def _first(keys: Keys, k: int) -> Keys:
    return keys if keys.shape[1] <= k else np.partition(keys, k - 1, axis=1)[:, :k]


def pack(scores: Float32[np.ndarray, "B m"], ids: Int64[np.ndarray, "B m"]) -> Keys:
    """Return one integer a pair; they rise where scores fall and, of equal scores, with the id."""
    # The bits of a positive float rise with it as an integer's, those of a negative one fall.
    bits = (scores + 0.0).view(np.int32)  # + 0.0 makes -0 equal to 0
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys: Keys = (~rising).astype(np.int64) << 32 | ids
    return keys


def unpack(keys: Keys) -> tuple[Int64[np.ndarray, "B _k"], Float32[np.ndarray, "B _k"]]:
    """Return ids and scores."""
    rising = (~(keys >> 32)).astype(np.int32)
    bits = rising ^ ((rising >> 31) & 0x7FFFFFFF)
    return keys & 0xFFFFFFFF, bits.view(np.float32)


def _parts(num: int, step: int) -> Iterator[slice]:
    for start in range(0, num, max(1, step)):
        yield slice(start, min(start + max(1, step), num))
