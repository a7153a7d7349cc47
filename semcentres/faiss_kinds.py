"""The two approximate indexes of FAISS, made, searched and read back alike: lists and a graph.

Dimensions: N rows of the index, Q queries, D columns, k neighbours.
"""

# torch comes first: see index.py.
import torch  # noqa: F401  # isort: skip

import math
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from jaxtyping import Float32, Int64

MOST_EF = 1024
LINKS = 32  # of a row of the graph; Malkov & Yashunin 2018 (arXiv:1603.09320) have 5 to 48
EF_BUILD = 100
POINTS_PER_LIST = 40  # that the lists' centroids are learnt from; FAISS warns of fewer than 39
SEED, IP = 0, faiss.METRIC_INNER_PRODUCT
Rows = Float32[np.ndarray, "N D"]
Faiss = Any  # its stubs know no parameters of searches


def num_lists(num_rows: int) -> int:
    """Return of how many lists an inverted file of so many rows is."""
    # FAISS's guidelines have 4 to 16 sqrt(N) lists below a million rows.
    most = max(1, num_rows // POINTS_PER_LIST)
    return int(min(2 ** round(math.log2(4 * math.sqrt(num_rows))), most))


def trained_lists(rows: Rows, num_rows: int) -> Faiss:
    """Return an empty inverted file for so many rows, its lists learnt from some of these."""
    flat = faiss.IndexFlatIP(rows.shape[1])
    found = faiss.IndexIVFFlat(flat, rows.shape[1], num_lists(num_rows), IP)
    found.cp.seed, found.cp.spherical = SEED, True
    found.cp.max_points_per_centroid = POINTS_PER_LIST
    found.train(rows)
    return found


def graph_of(dimension: int) -> Faiss:
    """Return an empty one for rows of D columns."""
    graph = faiss.IndexHNSWFlat(dimension, LINKS, IP)
    graph.hnsw.efConstruction = EF_BUILD
    return faiss.IndexIDMap(graph)


def lists_of(found: Faiss) -> Iterator[tuple[int, Int64[np.ndarray, " n"], Rows]]:
    """Yield number, ids and rows of each list that has any, where FAISS holds them."""
    lists = found.invlists
    for number in range(found.nlist):
        if num := lists.list_size(number):
            codes = faiss.rev_swig_ptr(lists.get_codes(number), num * lists.code_size)
            rows = codes.view(np.float32).reshape(num, found.d)
            yield number, faiss.rev_swig_ptr(lists.get_ids(number), num), rows


def is_graph(found: Faiss) -> bool:
    """Return whether it is a graph; else it is an inverted file."""
    return isinstance(found, faiss.IndexIDMap)


def within(found: Faiss) -> Faiss:
    """Return the graph itself, within its map of ids."""
    return faiss.downcast_index(found.index)


def search_faiss(
    found: Faiss, queries: Float32[np.ndarray, "Q D"], k: int, width: int
) -> tuple[Int64[np.ndarray, "Q k"], Float32[np.ndarray, "Q k"]]:
    """Return ids, -1 where it came upon fewer than k, and cosines; of enough width exact."""
    ids, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    params: Any = None
    exact = is_graph(found) and width > MOST_EF
    if exact:
        searched = within(found).storage
    elif is_graph(found):
        searched, params = found, faiss.SearchParametersHNSW()  # type: ignore[attr-defined]
        params.efSearch = width
    else:
        searched, params = found, faiss.SearchParametersIVF()
        params.nprobe = min(width, found.nlist)
    # Not `search`, whose arguments are others where faiss.contrib.torch_utils is imported.
    arrays = faiss.swig_ptr(queries), k, faiss.swig_ptr(cosines), faiss.swig_ptr(ids)
    searched.search_c(len(queries), *arrays, params)
    return (faiss.vector_to_array(found.id_map)[ids] if exact else ids), cosines
