"""Exact neighbours among unit vectors; with kmeans.py and approximate.py the only one with faiss.

Dimensions: N rows of the index, Q queries, D columns, K centres, k neighbours, m candidates.
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
from semcentres.exact_search import EXTRA, nearest, nearest_among

# Above this size FAISS scores with BLAS, whose last bits depend on where a row stands in its
# matrix; kmeans.py relies on it, and tests compare this index with FAISS's own.
faiss.cvar.distance_compute_blas_threshold = np.iinfo(np.int32).max
FILE_NAME = "index.faiss"
UNIT_TOLERANCE = 1e-3
LONGEST = 1.01 * (1 + UNIT_TOLERANCE)  # with room for rounding
GPU_MAX_FETCH = 2048
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
    """All rows, compared one by one; made by `build` or `load`.

    A score is a function of the two vectors alone, to the last bit. A GPU only chooses candidates.
    """

    def __init__(self, rows: Float32[np.ndarray, "N D"]) -> None:
        self._rows = rows
        self._gpu: Any = faiss.index_cpu_to_all_gpus(_flat(rows)) if faiss.get_num_gpus() else None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dimension(self) -> int:
        """The number of columns, D."""
        return int(self._rows.shape[1])

    @classmethod
    def build(cls, embeddings: Float[np.ndarray, "N D"]) -> "Index":
        """Return the index of unit rows; row i is found under id i.

        Raises:
            InputError: there is no row, or a row is not finite or not of length 1.
        """
        rows = _unit_rows("embeddings", embeddings)
        if len(rows) == 0:
            raise InputError("the embeddings have no rows; an index needs at least one")
        # FAISS reads the memory, and the caller may write to it.
        return cls(rows.copy())

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
        made = {**about, "shape": [len(self), self.dimension]}
        with write_folder(folder, about=made) as temporary:
            faiss.write_index(_flat(self._rows), str(temporary / FILE_NAME))

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

    def _top(self, queries: Float32[np.ndarray, "Q D"], k: int) -> Neighbours:
        """Return the first k of all rows, or all."""
        k, fetch = min(k, len(self)), min(k + EXTRA, len(self))
        if self._gpu is None or fetch > GPU_MAX_FETCH:
            return Neighbours(*nearest(self._rows, queries, k, self._score, LONGEST))
        products, candidates = self._gpu.search(queries, fetch)
        bounds = products[:, -1]
        ids, cosines, proven = nearest_among(candidates, bounds, queries, k, self._score, LONGEST)
        open_ = ~proven
        ids[open_], cosines[open_] = nearest(self._rows, queries[open_], k, self._score, LONGEST)
        return Neighbours(ids, cosines)

    def _score(
        self, queries: Float32[np.ndarray, "B D"], ids: Int64[np.ndarray, "B m"]
    ) -> Float32[np.ndarray, "B m"]:
        """Return the inner product of each query with each row of its ids, pair by pair."""
        queries, ids = np.ascontiguousarray(queries), np.ascontiguousarray(ids)
        scores = np.empty(ids.shape, np.float32)
        arrays = (faiss.swig_ptr(array) for array in (scores, queries, self._rows, ids))
        # Its stubs leave the function out.
        faiss.fvec_inner_products_by_idx(*arrays, self.dimension, *ids.shape)  # type: ignore[attr-defined]
        return scores


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
    # A tensor where anybody has imported faiss.contrib.torch_utils.
    return np.asarray(flat.reconstruct_n(0, flat.ntotal))
