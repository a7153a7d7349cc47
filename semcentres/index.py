"""Exact neighbours among unit vectors.

faiss is imported here and in approximate_index.py, faiss_files.py, faiss_kinds.py, kmeans.py and
on_disk.py, nowhere else.

Dimensions: N rows of the index, Q queries, D columns, K centres, k neighbours, m candidates.
"""

# torch comes first: both bring an OpenMP of their own, and the first one loaded serves both.
import torch  # noqa: F401  # isort: skip

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, final

import faiss
import numpy as np
from jaxtyping import Float, Float32, Int64

from centre_builders.artefact import verify_folder, write_folder
from centre_builders.errors import InputError, refused_unless
from semcentres.exact_search import EXTRA, nearest, nearest_among
from semcentres.faiss_files import flat_rows, read_faiss, write_flat
from semcentres.neighbours import LONGEST, Exclusion, Neighbours, in_blocks, unit_rows

# Above this size FAISS scores with BLAS, whose last bits depend on where a row stands in its
# matrix; kmeans.py relies on it, and tests compare this index with FAISS's own.
faiss.cvar.distance_compute_blas_threshold = np.iinfo(np.int32).max
FILE_NAME = "index.faiss"
GPU_MAX_FETCH = 2048
BLOCK = 1 << 14  # rows

Block = tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, "n D"]]
Beside = Callable[[Path], None]


@final
class Index:
    """All rows, compared one by one; made by `build` or `load`.

    A score is a function of the two vectors alone, to the last bit. A GPU only chooses candidates.
    """

    def __init__(self, rows: Float32[np.ndarray, "N D"]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dimension(self) -> int:
        """The number of columns, D."""
        return int(self._rows.shape[1])

    @property
    def kind(self) -> str:
        """How it searches."""
        return "flat"

    @property
    def vectors(self) -> Float32[np.ndarray, "N D"]:
        """All rows, in the order of their ids; not to be written to."""
        return self._rows

    @classmethod
    def build(cls, embeddings: Float[np.ndarray, "N D"]) -> "Index":
        """Return the index of unit rows; row i is found under id i.

        Raises:
            InputError: there is no row, or a row is not finite or not of length 1.
        """
        rows = unit_rows("embeddings", embeddings)
        if len(rows) == 0:
            raise InputError("the embeddings have no rows; an index needs at least one")
        # FAISS reads the memory, and the caller may write to it.
        return cls(rows.copy())

    @classmethod
    def over(cls, rows: Float[np.ndarray, "N D"]) -> "Index":
        """Return `build` of rows that stay where they are, if float32, and may not change."""
        return cls(unit_rows("embeddings", rows))

    def rows(self, ids: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n D"]:
        """Return the rows of these ids."""
        found: np.ndarray = self._rows[ids]
        return found

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
        return in_blocks(self._top, self.dimension, len(self), queries, k, exclude, block)

    def blocks(self) -> Iterator[Block]:
        """Yield all rows, some at a time, with their ids; not to be written to."""
        for start in range(0, len(self), BLOCK):
            rows = self._rows[start : start + BLOCK]
            yield np.arange(start, start + len(rows)), rows

    def save(self, folder: Path, about: Mapping[str, Any], beside: Beside | None = None) -> None:
        """Write the index to a folder, whole or not at all.

        Args:
            folder: one that is there is replaced.
            about: what the rows were made from, as JSON: fingerprints of encoder, bank, data.
            beside: writes further files into the folder that it is given.
        """
        made = {**about, "shape": [len(self), self.dimension]}
        with write_folder(folder, about=made, need=self._rows.nbytes) as temporary:
            write_flat(self._rows, temporary / FILE_NAME)
            if beside is not None:
                beside(temporary)

    @classmethod
    def load(cls, folder: Path, expect: Mapping[str, Any] | None = None) -> "Index":
        """Return the index that `save` wrote, if its `about` holds all that is expected.

        Raises:
            CorruptArtefact: a file is not what was written.
            InputError: the index was made from something else than expected.
        """
        about = checked_about(folder, expect or {})
        flat = read_faiss(folder / FILE_NAME, faiss.IndexFlatIP)
        with refused_unless(folder, "an index"):
            index = cls.build(flat_rows(flat))
            if [len(index), index.dimension] != about["shape"]:
                raise ValueError(f"it is not of shape {about['shape']}")
        return index

    @cached_property
    def _gpu(self) -> Any:  # noqa: ANN401
        """A copy of the rows on the GPUs, made at the first search, or None without any."""
        return faiss.index_cpu_to_all_gpus(_flat(self._rows)) if faiss.get_num_gpus() else None

    def _top(self, queries: Float32[np.ndarray, "Q D"], k: int) -> Neighbours:
        """Return the first k of all rows, or all."""
        k, fetch = min(k, len(self)), min(k + EXTRA, len(self))
        if self._gpu is None or fetch > GPU_MAX_FETCH:
            return Neighbours(*nearest(self._rows, queries, k, self.score, LONGEST))
        products, candidates = self._gpu.search(queries, fetch)
        bounds = products[:, -1]
        ids, cosines, proven = nearest_among(candidates, bounds, queries, k, self.score, LONGEST)
        open_ = ~proven
        ids[open_], cosines[open_] = nearest(self._rows, queries[open_], k, self.score, LONGEST)
        return Neighbours(ids, cosines)

    def score(
        self, queries: Float32[np.ndarray, "B D"], ids: Int64[np.ndarray, "B m"]
    ) -> Float32[np.ndarray, "B m"]:
        """Return the cosine of each query and each row of its ids, with the bits of a search."""
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
    # Not copied: the processes of a machine may share a bank of a million centres.
    return Index.over(centres).search(embeddings, k)


def describe() -> str:
    """Return the version of faiss and the number of GPUs that it sees."""
    return f"{faiss.__version__}, GPUs: {faiss.get_num_gpus()}"


def _flat(rows: Float32[np.ndarray, "N D"]) -> faiss.IndexFlatIP:
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    return flat


def checked_about(folder: Path, expect: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `about` of an index's folder, whose files are whole.

    Raises:
        CorruptArtefact: a file is not what was written.
        InputError: it does not hold all that is expected.
    """
    about: dict[str, Any] = verify_folder(folder)["about"]
    stale = [key for key, wanted in expect.items() if about.get(key) != wanted]
    if stale:
        parts = "; ".join(f"{key} is {about.get(key)!r}, wanted {expect[key]!r}" for key in stale)
        raise InputError(f"{folder} is out of date: {parts}; build the index again")
    return about
