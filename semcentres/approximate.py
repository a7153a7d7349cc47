"""Neighbours by an inverted file or a graph, for more rows than are compared one by one.

What FAISS does for it is in faiss_kinds.py.

Dimensions: N rows of the index, Q queries, D columns, k neighbours.
"""

# torch comes first: see index.py.
import torch  # noqa: F401  # isort: skip

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, final, get_args

import faiss
import numpy as np
from jaxtyping import Float, Float32, Int64

from centre_builders.artefact import verify_folder, write_folder
from centre_builders.errors import InputError, refused_unless
from semcentres.faiss_files import read_faiss
from semcentres.faiss_kinds import (
    MOST_EF,
    SEED,
    Faiss,
    Rows,
    all_rows,
    graph_of,
    is_graph,
    search_faiss,
    trained_lists,
)
from semcentres.index import FILE_NAME, Index, refuse_stale, write_index
from semcentres.neighbours import Exclusion, Neighbours, in_blocks, unit_rows

log = logging.getLogger(__name__)

# Above it `auto` takes lists. There, in 64 columns on one core, a query takes 0.38 ms, in lists at
# recall 0.97 0.14 ms, and they take 11 s to build: as long as they save in 46,000 queries.
EXACT_ROWS = 200_000
SAMPLE = 1000  # rows that recall is measured on, and at most half of all
MOST_LISTS = 4  # one list in so many is searched at most: beyond, all rows are nearly as fast
Kind = Literal["auto", "flat", "ivf", "hnsw"]


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
        return all_rows(self._faiss)

    def rows(self, ids: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n D"]:
        """Return the rows of these ids."""
        found: np.ndarray = self.vectors[ids]
        return found

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

    def save(
        self, folder: Path, about: Mapping[str, Any], beside: Mapping[str, bytes] | None = None
    ) -> None:
        """Write the index to a folder, whole or not at all; arguments as of `Index.save`."""
        made = {
            **about,
            "shape": [len(self), self.dimension],
            "width": self.width,
            "recall": [self.recall.value, self.recall.k, self.recall.num_rows],
        }
        with write_folder(folder, about=made) as temporary:
            write_index(self._faiss, temporary, beside)

    @classmethod
    def load(cls, folder: Path, expect: Mapping[str, Any] | None = None) -> "ApproximateIndex":
        """Return the index that `save` wrote, if its `about` holds all that is expected.

        Raises:
            CorruptArtefact: a file is not what was written.
            InputError: the index was made from something else than expected.
        """
        about = verify_folder(folder)["about"]
        refuse_stale(folder, about, expect or {})
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
    if kind == "flat" or (kind == "auto" and len(embeddings) <= EXACT_ROWS) or len(embeddings) < 2:
        return Index.build(embeddings)
    rows = unit_rows("embeddings", embeddings)
    return _filled(
        graph_of(rows) if kind == "hnsw" else trained_lists(rows, len(rows)), rows, recall, k
    )


def check_wanted(kind: str, recall: float, k: int = 10) -> Kind:
    """Return the kind, if `build_index` takes such arguments; to be asked before long work.

    Raises:
        InputError: an argument is out of range.
    """
    if not 0 < recall <= 1:
        raise InputError(f"recall must be above 0 and at most 1, got {recall}")
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    if kind not in get_args(Kind):
        raise InputError(f"kind must be auto, flat, ivf or hnsw, got {kind!r}")
    return cast(Kind, kind)


def _filled(found: Faiss, rows: Rows, wanted: float, k: int) -> ApproximateIndex:
    """Return the index of all rows with the least width, by doubling, that has the recall.

    Measured before the sample is added: a row of a graph has its neighbours for links, and finds
    them where a new query would not.
    """
    order = np.random.default_rng(SEED).permutation(len(rows))
    sample, rest = np.split(order, [min(SAMPLE, len(rows) // 2)])
    found.add_with_ids(rows[rest], rest)
    exact = Index(rows)
    last = Index(rows[rest]).search(rows[sample], k).cosines[:, -1:]

    def recall_of(width: int) -> float:
        ids = ApproximateIndex(found, width, Recall(0.0, k, 0)).search(rows[sample], k).ids
        # By cosines, not by ids: of rows as near as the last true neighbour any is right.
        return float((exact.score(rows[sample], ids) >= last).mean())

    width, value = widen(found, k, wanted, recall_of)
    found.add_with_ids(rows[sample], sample)
    name = "HNSW, efSearch" if is_graph(found) else f"IVF {found.nlist} lists, nprobe"
    tell_recall(f"{name} {width}", wanted, measured := Recall(value, k, len(sample)))
    return ApproximateIndex(found, width, measured)


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
