"""An inverted file or a graph: searched, its rows read, written to a folder and read back.

What FAISS does for it is in faiss_kinds.py.

Dimensions: N rows of the index, Q queries, D columns, k neighbours.
"""

# torch comes first: see index.py.
import torch  # noqa: F401  # isort: skip

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import faiss
import numpy as np
from jaxtyping import Float, Float32, Int, Int64

from centre_builders.artefact import write_folder
from centre_builders.errors import refused_unless
from semcentres.faiss_files import flat_rows, read_faiss, write_faiss
from semcentres.faiss_kinds import MOST_EF, Faiss, is_graph, lists_of, search_faiss, within
from semcentres.index import BLOCK, FILE_NAME, Beside, Block, checked_about
from semcentres.neighbours import Exclusion, Neighbours, in_blocks


@dataclass(frozen=True)
class Recall:
    """What a build found of its own index.

    Attributes:
        value: the part of the true k nearest that is found, in [0, 1].
        k: neighbours.
        num_rows: that it was measured on, when they were not in the index yet.
    """

    value: float
    k: int
    num_rows: int


@final
class ApproximateIndex:
    """An inverted file or a graph; made by `build_index` or `load`.

    Args:
        found: an IndexIVFFlat, or an IndexIDMap of an IndexHNSWFlat, of inner products.
        width: lists (`nprobe`) or rows (`efSearch`) that a search looks into.
        recall: of searches of this width.
    """

    def __init__(self, found: Faiss, width: int, recall: Recall) -> None:
        self._faiss = found
        self.width = width
        self.recall = recall

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    def dimension(self) -> int:
        """The number of columns, D."""
        return int(self._faiss.d)

    @property
    def kind(self) -> str:
        """How it searches."""
        return "hnsw" if is_graph(self._faiss) else "ivf"

    @cached_property
    def vectors(self) -> Float32[np.ndarray, "N D"]:
        """All rows, in the order of their ids, put together at first use; not to be written to."""
        whole = np.empty((len(self), self.dimension), np.float32)
        for ids, rows in self.blocks():
            whole[ids] = rows
        return whole

    def blocks(self) -> Iterator[Block]:
        """Yield all rows, some at a time, with their ids; not to be written to."""
        if not is_graph(self._faiss):
            yield from ((ids, rows) for _, ids, rows in lists_of(self._faiss))
            return
        ids, rows = faiss.vector_to_array(self._faiss.id_map), self._graph_rows
        for start in range(0, len(self), BLOCK):
            yield ids[start : start + BLOCK], rows[start : start + BLOCK]

    def rows(self, ids: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n D"]:
        """Return the rows of these ids; the first time, where each is is noted, in 8 N bytes."""
        if is_graph(self._faiss):
            found: np.ndarray = self._graph_rows[self._places[ids]]
            return found
        rows, lists = np.empty((len(ids), self.dimension), np.float32), self._faiss.invlists
        for row, (number, place) in zip(rows, self._places[ids].tolist(), strict=True):
            code = faiss.rev_swig_ptr(lists.get_single_code(number, place), 4 * self.dimension)
            row[:] = code.view(np.float32)
        return rows

    # Not FAISS's own map of ids, which two threads may not make at once, and which is saved.
    @cached_property
    def _places(self) -> Int[np.ndarray, "N ..."]:
        """Where each row is: among the rows of a graph [N], or list and place in it [N 2]."""
        if is_graph(self._faiss):
            return np.argsort(faiss.vector_to_array(self._faiss.id_map))
        places = np.empty((len(self), 2), np.int32)
        for number, ids, _ in lists_of(self._faiss):
            places[ids, 0], places[ids, 1] = number, np.arange(len(ids))
        return places

    @property
    def _graph_rows(self) -> Float32[np.ndarray, "N D"]:
        return flat_rows(within(self._faiss).storage)

    def search(
        self, queries: Float[np.ndarray, "Q D"], k: int, *, exclude: Exclusion = None
    ) -> Neighbours:
        """Return k near rows of each query; arguments, order and errors as of `Index.search`.

        Recall is that of `recall` only for its k and for queries like the rows. Of rows as near as
        the k-th any may be left out.
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
        """Return `search` in parts, each with its rows of the queries."""
        return in_blocks(self._top, self.dimension, len(self), queries, k, exclude, block)

    def wider(self, times: int) -> "ApproximateIndex":
        """Return the same index, searched as many times as wide; its recall is no less."""
        return ApproximateIndex(self._faiss, times * self.width, self.recall)

    def save(self, folder: Path, about: Mapping[str, Any], beside: Beside | None = None) -> None:
        """Write the index to a folder, whole or not at all; arguments as of `Index.save`."""
        made = {
            **about,
            "shape": [len(self), self.dimension],
            "width": self.width,
            "recall": [self.recall.value, self.recall.k, self.recall.num_rows],
        }
        need = 4 * len(self) * self.dimension
        with write_folder(folder, about=made, need=need) as temporary:
            write_faiss(self._faiss, temporary / FILE_NAME)
            if beside is not None:
                beside(temporary)

    @classmethod
    def load(cls, folder: Path, expect: Mapping[str, Any] | None = None) -> "ApproximateIndex":
        """Return the index that `save` wrote, if its `about` holds all that is expected.

        Raises:
            CorruptArtefact: a file is not what was written.
            InputError: the index was made from something else than expected.
        """
        about = checked_about(folder, expect or {})
        found = read_faiss(folder / FILE_NAME, faiss.IndexIVFFlat, faiss.IndexIDMap)
        with refused_unless(folder, "an index"):
            (value, k, num_rows), width = about["recall"], about["width"]
            if [found.ntotal, found.d] != about["shape"]:
                raise ValueError(f"it is not of shape {about['shape']}")
            if not (isinstance(width, int) and 1 <= width <= max(MOST_EF, found.ntotal)):
                raise ValueError(f"it is searched by width {width}")
            return cls(found, width, Recall(float(value), int(k), int(num_rows)))

    def _top(self, queries: Float32[np.ndarray, "Q D"], k: int) -> Neighbours:
        """Return k of all rows, looking wider for a query that came upon fewer than k."""
        k, width = min(k, len(self)), self.width
        ids, cosines = search_faiss(self._faiss, queries, k, width)
        while (short := np.flatnonzero(ids[:, -1] < 0)).size:
            width *= 2
            ids[short], cosines[short] = search_faiss(self._faiss, queries[short], k, width)
        order = np.lexsort((ids, -cosines), axis=1)
        return Neighbours(*(np.take_along_axis(a, order, axis=1) for a in (ids, cosines)))
