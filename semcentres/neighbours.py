"""What every index takes and gives: checked unit rows, and neighbours in order.

Dimensions: N rows of the index, Q queries, D columns, k neighbours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from centre_builders.errors import InputError, UsageError

UNIT_TOLERANCE = 1e-3
LONGEST = 1.01 * (1 + UNIT_TOLERANCE)  # with room for rounding
Exclusion = Int64[np.ndarray, " _Q"] | None


@dataclass(frozen=True)
class Neighbours:
    """The rows nearest to each query, by falling cosine; equal cosines by rising id.

    Attributes:
        ids: rows of the index, never -1.
        cosines: inner products of the unit rows, in [-1, 1] up to rounding.
    """

    ids: Int64[np.ndarray, "Q k"]
    cosines: Float32[np.ndarray, "Q k"]


Top = Callable[[Float32[np.ndarray, "Q D"], int], Neighbours]


def in_blocks(
    top: Top,
    dimension: int,
    size: int,
    queries: Float[np.ndarray, "Q D"],
    k: int,
    exclude: Exclusion,
    block: int,
) -> Iterator[tuple[slice, Neighbours]]:
    """Return the neighbours of parts of the queries, each with its rows of the queries.

    Args:
        top: searches for the first k of all rows, or all, in the order of `Neighbours`.
        dimension: D, of the rows.
        size: N.
        queries: unit rows.
        k: from 1; fewer come back where the index holds fewer.
        exclude: one id per query that is left out.
        block: queries of a part.

    Raises:
        InputError: `k`, `exclude` or the queries are not as above.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    vectors = unit_rows("queries", queries)
    if vectors.shape[1] != dimension:
        raise InputError(
            f"queries have {vectors.shape[1]} columns, the index {dimension};"
            " use one encoder for both"
        )
    if exclude is not None:
        _check_exclude(exclude, len(vectors), size)
    return _blocks(top, vectors, k, exclude, block)


def unit_rows(name: str, rows: Float[np.ndarray, "..."]) -> Float32[np.ndarray, "N D"]:
    """Return the rows in float32, contiguous; an error says what they are called.

    Raises:
        InputError: they are no matrix, or one is not finite or not of length 1.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if rows.ndim != 2:
        raise InputError(f"the {name} have shape {rows.shape}; wanted [rows, columns]")
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= UNIT_TOLERANCE))  # Not >, or nan passes.
    if wrong.size:
        raise InputError(
            f"row {wrong[0]} of the {name} has length {lengths[wrong[0]]:.6g}, wanted 1"
            f" ({wrong.size} such rows); normalise the rows, drop those that are zero, nan or inf"
        )
    return rows


def _blocks(
    top: Top,
    queries: Float32[np.ndarray, "Q D"],
    k: int,
    exclude: Exclusion,
    block: int,
) -> Iterator[tuple[slice, Neighbours]]:
    for start in range(0, max(1, len(queries)), block):
        rows = slice(start, min(start + block, len(queries)))
        if exclude is None:
            yield rows, top(queries[rows], k)
        else:
            yield rows, _leave_out(top(queries[rows], k + 1), exclude[rows])


def _check_exclude(exclude: Int64[np.ndarray, " E"], num_queries: int, size: int) -> None:
    if len(exclude) != num_queries:
        raise InputError(f"exclude has {len(exclude)} ids for {num_queries} queries; give each one")
    for id_ in exclude[(exclude < 0) | (exclude >= size)]:
        raise InputError(f"exclude holds {id_}, not a row of the index; wanted 0 to {size - 1}")


def _leave_out(found: Neighbours, exclude: Int64[np.ndarray, " Q"]) -> Neighbours:
    """Return one column less: without the excluded id, or the last where that is not there."""
    keep = found.ids != exclude[:, None]
    keep[keep.all(axis=1), -1] = False
    shape = (len(exclude), found.ids.shape[1] - 1)
    return Neighbours(found.ids[keep].reshape(shape), found.cosines[keep].reshape(shape))
