"""Exact neighbours among unit vectors; with kmeans.py the only module that imports faiss.

Dimensions: N rows of the index, Q queries, D columns, K centres, k neighbours, m fetched.
"""

# torch comes first: both bring an OpenMP of their own, and the first one loaded serves both.
import torch  # noqa: F401  # isort: skip

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import faiss
import numpy as np
from jaxtyping import Float, Float32, Int64

from centre_builders.artefact import verify_folder, write_folder
from centre_builders.errors import CorruptArtefact, InputError

# Above this size FAISS scores with BLAS, whose last bits depend on where a row stands in its
# matrix: equal rows get unequal scores, and the split into blocks shows. The other path scores
# each pair by itself, so a score is a function of the two vectors alone, to the last bit. It
# takes up to 3.5 times as long (512 columns, one core). On a GPU scores are right to rounding.
faiss.cvar.distance_compute_blas_threshold = np.iinfo(np.int32).max
FILE_NAME = "index.faiss"
UNIT_TOLERANCE = 1e-3
GPU_MAX_FETCH = 2048
TILE_BYTES = 1 << 24  # of rows, which a processor's last cache holds
TIE_BUDGET = 1 << 24  # scores held at once while ties are resolved, 12 bytes each
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


@final
class Index:
    """All rows, compared one by one; made by `build` or `load`."""

    def __init__(self, rows: Float32[np.ndarray, "N D"]) -> None:
        self._tiles = _tiles(rows)
        self._gpu: Any = faiss.index_cpu_to_all_gpus(_flat(rows)) if faiss.get_num_gpus() else None

    def __len__(self) -> int:
        return int(self._tiles.ntotal)

    @property
    def dimension(self) -> int:
        """The number of columns, D."""
        return int(self._tiles.d)

    @classmethod
    def build(cls, embeddings: Float[np.ndarray, "N D"]) -> "Index":
        """Return the index of unit rows; row i is found under id i.

        Raises:
            InputError: there is no row, or a row is not finite or not of length 1.
        """
        rows = _unit_rows("embeddings", embeddings)
        if len(rows) == 0:
            raise InputError("the embeddings have no rows; an index needs at least one")
        return cls(rows)

    def search(
        self, queries: Float[np.ndarray, "Q D"], k: int, *, exclude: Exclusion = None
    ) -> Neighbours:
        """Return the k nearest rows of each query, in the order of `Neighbours`.

        Args:
            queries: unit rows.
            k: from 1; fewer come back where the index holds fewer.
            exclude: one id per query that is left out, as in leave-one-out evaluation.

        Raises:
            InputError: `k`, `exclude` or the queries are not as above.
        """
        return next(self.search_blocks(queries, k, exclude=exclude, block=len(queries) or 1))[1]

    def search_blocks(
        self,
        queries: Float[np.ndarray, "Q D"],
        k: int,
        *,
        exclude: Exclusion = None,
        block: int = 1024,
    ) -> Iterator[tuple[slice, Neighbours]]:
        """Return `search` in parts of the same bits, each with its rows of the queries."""
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        vectors = _unit_rows("queries", queries)
        if vectors.shape[1] != self.dimension:
            got, wanted = vectors.shape[1], self.dimension
            raise InputError(
                f"queries have {got} columns, the index {wanted}; use one encoder for both"
            )
        if exclude is not None:
            _check_exclude(exclude, len(vectors), len(self))
        return self._blocks(vectors, k, exclude, block)

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the index to a folder, whole or not at all.

        `about` says, as JSON, what the rows were made from: fingerprints of encoder, bank, data.
        """
        parts = [_rows(self._tiles.at(i)) for i in range(self._tiles.count())]
        made = {**about, "shape": [len(self), self.dimension]}
        with write_folder(folder, about=made) as temporary:
            faiss.write_index(_flat(np.concatenate(parts)), str(temporary / FILE_NAME))

    @classmethod
    def load(cls, folder: Path, expect: Mapping[str, Any] | None = None) -> "Index":
        """Return the index that `save` wrote, if its `about` holds all that is expected.

        Raises:
            CorruptArtefact: a file is not what was written.
            InputError: the index was made from something else than expected.
        """
        about = verify_folder(folder)["about"]
        _refuse_stale(folder, about, expect or {})
        index = cls.build(_read_rows(folder / FILE_NAME))
        if [len(index), index.dimension] != (shape := about.get("shape")):
            raise CorruptArtefact(f"{folder} is not of shape {shape}; build it again")
        return index

    def _blocks(
        self, queries: Float32[np.ndarray, "Q D"], k: int, exclude: Exclusion, block: int
    ) -> Iterator[tuple[slice, Neighbours]]:
        for start in range(0, max(1, len(queries)), block):
            rows = slice(start, min(start + block, len(queries)))
            if exclude is None:
                yield rows, self._top(queries[rows], k)
            else:
                yield rows, _leave_out(self._top(queries[rows], k + 1), exclude[rows])

    def _top(
        self, queries: Float32[np.ndarray, "Q D"], k: int, fetch: int | None = None
    ) -> Neighbours:
        """Return the first k of all rows, fetching more for a query whose k-th may be tied."""
        fetch = min(k + 1 if fetch is None else fetch, len(self))
        on_cpu = self._gpu is None or fetch > GPU_MAX_FETCH
        cosines, ids = (self._tiles if on_cpu else self._gpu).search(queries, fetch)
        open_end = fetch < len(self)
        tied = np.flatnonzero(open_end & (cosines[:, -1] == cosines[:, min(k, fetch) - 1]))
        ids, cosines = _order_ties(ids, cosines, len(self))[:, :k], cosines[:, :k]
        step = max(1, TIE_BUDGET // (8 * fetch))
        for part in (tied[start : start + step] for start in range(0, len(tied), step)):
            wider = self._top(queries[part], k, 8 * fetch)
            ids[part], cosines[part] = wider.ids, wider.cosines
        return Neighbours(ids, cosines)


def nearest_centres(
    embeddings: Float[np.ndarray, "N _D"], centres: Float[np.ndarray, "K _D"], k: int = 1
) -> Neighbours:
    """Return the k nearest centres of each embedding, all of unit length; ids in [0, K)."""
    return Index.build(centres).search(embeddings, k)


def describe() -> str:
    """Return the version of faiss and the number of GPUs that it sees."""
    return f"{faiss.__version__}, GPUs: {faiss.get_num_gpus()}"


def _unit_rows(name: str, rows: Float[np.ndarray, "..."]) -> Float32[np.ndarray, "N D"]:
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


def _flat(rows: Float32[np.ndarray, "N D"]) -> faiss.IndexFlatIP:
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    return flat


def _rows(flat: faiss.Index) -> Float32[np.ndarray, "N D"]:
    # A tensor where anybody has imported faiss.contrib.torch_utils.
    return np.asarray(flat.reconstruct_n(0, flat.ntotal))


def _tiles(rows: Float32[np.ndarray, "N D"]) -> Any:  # noqa: ANN401
    """Return the rows in parts that stay in cache: all queries meet one before the next is read."""
    tiles = faiss.IndexShards(rows.shape[1])  # in turn; ids run on
    step = max(1, TILE_BYTES // rows[0].nbytes)
    for start in range(0, len(rows), step):
        tiles.add_shard(_flat(rows[start : start + step]))
    return tiles


def _check_exclude(exclude: Int64[np.ndarray, " E"], num_queries: int, size: int) -> None:
    if len(exclude) != num_queries:
        raise InputError(f"exclude has {len(exclude)} ids for {num_queries} queries; give each one")
    for id_ in exclude[(exclude < 0) | (exclude >= size)]:
        raise InputError(f"exclude holds {id_}, not a row of the index; wanted 0 to {size - 1}")


def _order_ties(
    ids: Int64[np.ndarray, "Q m"], cosines: Float32[np.ndarray, "Q m"], size: int
) -> Int64[np.ndarray, "Q m"]:
    """Return the ids with every run of equal cosines in rising order; cosines fall already."""
    run = np.zeros_like(ids)
    np.cumsum(cosines[:, 1:] != cosines[:, :-1], axis=1, out=run[:, 1:])
    return np.sort(run * size + ids, axis=1) % size


def _leave_out(found: Neighbours, exclude: Int64[np.ndarray, " Q"]) -> Neighbours:
    """Return one column less: without the excluded id, or the last where that is not there."""
    keep = found.ids != exclude[:, None]
    keep[keep.all(axis=1), -1] = False
    shape = (len(exclude), found.ids.shape[1] - 1)
    return Neighbours(found.ids[keep].reshape(shape), found.cosines[keep].reshape(shape))


def _refuse_stale(folder: Path, about: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    stale = [key for key, wanted in expect.items() if about.get(key) != wanted]
    if stale:
        parts = "; ".join(f"{key} is {about.get(key)!r}, wanted {expect[key]!r}" for key in stale)
        raise InputError(f"{folder} is out of date: {parts}; build the index again")


def _read_rows(path: Path) -> Float[np.ndarray, "N D"]:
    """Return the rows of the index in a file, never taking more memory than twice the file."""
    faiss.set_deserialization_vector_byte_limit(2 * path.stat().st_size)
    faiss.set_deserialization_loop_limit(1 << 20)
    try:
        flat = faiss.read_index(str(path))
    except RuntimeError as error:
        raise CorruptArtefact(f"{path} is no index; build it again from the embeddings") from error
    if not isinstance(flat, faiss.IndexFlatIP):
        raise CorruptArtefact(f"{path} is a {type(flat).__name__}, wanted IndexFlatIP; build again")
    return _rows(flat)
