"""Files of FAISS that may be a stranger's: what is in them is known before FAISS reads them.

FAISS reads whatever kind of index a file says it is, some of which open further files, and it
believes a graph's links and an inverted file's ids. So the file is walked to where each part says
what it is, and what was read is checked before it is searched.

Dimensions: N rows of the index, D columns.
"""

# torch comes first: see index.py.
import torch  # noqa: F401  # isort: skip

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from jaxtyping import Float32, Int, Int64

from centre_builders.errors import refused_unless
from semcentres.faiss_kinds import IP, Faiss, is_graph, lists_of, within
from semcentres.neighbours import unit_rows

# Above what any index of ours needs; a loop of 2^20 lists, links or levels takes no second.
MOST_LOOPS = 1 << 20
LISTS_NAME = "index.ivfdata"  # of lists that are not in the index's own file
HEADER = 33  # bytes of an index's own after its kind: d, N, two that are unused, trained, metric
GRAPH = (8, 4, 4, 8, 4)  # bytes of an item of the graph's arrays
GRAPH_TAIL = 20  # bytes of its five numbers
Ints = Int[np.ndarray, " _"]


def read_faiss(path: Path, *kinds: type[faiss.Index]) -> Any:  # noqa: ANN401
    """Return the index in a file, never taking more memory than twice the file.

    Args:
        path: of a file whose SHA-256 was verified.
        kinds: that are wanted, of IndexFlatIP, IndexIVFFlat and IndexIDMap of an IndexHNSWFlat.

    Raises:
        CorruptArtefact: it is none of these, or one that a search would be led astray by.
    """
    size, flags = path.stat().st_size, faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_ONDISK_SAME_DIR
    with refused_unless(path, "an index"):
        with path.open("rb") as file:
            _walk(file, path.with_name(LISTS_NAME))
        faiss.set_deserialization_vector_byte_limit(2 * size)
        faiss.set_deserialization_loop_limit(MOST_LOOPS)
        with silence():
            found: Faiss = faiss.read_index(str(path), flags)
        if not isinstance(found, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"it is a {type(found).__name__}, wanted {wanted}")
        if found.metric_type != IP or not found.is_trained:
            raise ValueError(f"it is of metric {found.metric_type}, or was not trained")
        if is_graph(found):
            _check_ids(faiss.vector_to_array(found.id_map), found.ntotal)  # type: ignore[attr-defined]
            _check_graph(within(found), (found.ntotal, found.d))
        elif isinstance(found, faiss.IndexIVFFlat):
            _check_lists(found)
    return found


@contextmanager
def silence() -> Iterator[None]:
    """Keep from standard output what FAISS says of lists in another file."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        libc.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def write_faiss(found: Faiss, path: Path) -> None:
    """Write an index to a file.

    Raises:
        OSError: as of any file; of a disk that is full FAISS's own writer says "Success".
    """
    with path.open("wb") as file:
        faiss.write_index(found, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]


def write_flat(rows: Float32[np.ndarray, "N D"], path: Path) -> None:
    """Write the flat index of rows, without a copy of them; errors as of `write_faiss`."""
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.ntotal = len(rows)
    with path.open("wb") as file:
        # The last eight bytes say how many numbers follow.
        file.write(faiss.serialize_index(flat)[:-8].tobytes())
        file.write(rows.size.to_bytes(8, "little"))
        file.write(np.ascontiguousarray(rows).data)


def flat_rows(flat: Faiss) -> Float32[np.ndarray, "N D"]:
    """Return the rows that a flat index holds, as long as it is there.

    Raises:
        TypeError: it is none, or holds not as many as it says.
    """
    flat = faiss.downcast_index(flat)
    num, width = int(flat.ntotal), int(flat.d)
    if not isinstance(flat, faiss.IndexFlatIP) or flat.codes.size() != 4 * num * width:
        raise TypeError(f"a {type(flat).__name__} holds its rows, or not as many as it says")
    rows: np.ndarray = faiss.rev_swig_ptr(flat.get_xb(), num * width).reshape(num, width)
    return rows


def _walk(file: BufferedReader, lists: Path) -> None:
    """Go from part to part as FAISS would, and refuse other parts than those that are written.

    Args:
        file: of an index.
        lists: file beside it, where its lists may be.

    Raises:
        ValueError: another part begins where one of these must, or lists lead out of their file.
    """
    kind = _kind(file, b"IxFI", b"IwFl", b"IxMp")
    if kind == b"IwFl":
        file.seek(16, 1)  # numbers of lists, and of those that are searched
        _kind(file, b"IxFI")
        _skip(file, 4)
        if any(file.read(9)):
            raise ValueError("it has a direct map")
        if _kind(file, b"ilar", b"ilod", header=0) == b"ilod":
            _walk_lists(file, lists)
    elif kind == b"IxMp":
        _kind(file, b"IHNf")
        for item in GRAPH:
            _skip(file, item)
        file.seek(GRAPH_TAIL, 1)
        _kind(file, b"IxFI")


def _walk_lists(file: BufferedReader, lists: Path) -> None:
    """Go past what says where in another file each list is, and refuse what is not within it."""
    num_lists, code_size, num = np.frombuffer(file.read(24), np.uint64).tolist()
    if not num_lists == num <= MOST_LOOPS:
        raise ValueError(f"it says where {num} of {num_lists} lists are")
    places = np.frombuffer(file.read(24 * num), np.uint64).reshape(num, 3)
    size, capacity, offset = places.T.tolist()
    _skip(file, 16)  # slots that are free
    name = file.read(min(int.from_bytes(file.read(8), "little"), 1 << 10))
    total = int.from_bytes(file.read(8), "little")
    if name != LISTS_NAME.encode() or not lists.is_file() or lists.stat().st_size != total:
        raise ValueError(f"its lists are not the {total} bytes of {LISTS_NAME} beside it")
    ends = [at + room * (code_size + 8) for at, room in zip(offset, capacity, strict=True) if room]
    if max(ends, default=0) > total or any(n > c for n, c in zip(size, capacity, strict=True)):
        raise ValueError("its lists lead out of their file")


def _kind(file: BufferedReader, *allowed: bytes, header: int = HEADER) -> bytes:
    """Return the kind of the part that begins here, after its header."""
    kind, head = file.read(4), file.read(header)
    # Of other metrics the header is longer.
    if kind not in allowed or (header and int.from_bytes(head[-4:], "little") > 1):
        raise ValueError(f"a part of kind {kind!r} where there must be {allowed}")
    return kind


def _skip(file: BufferedReader, item: int) -> None:
    """Go past an array: its length, then its items."""
    file.seek(item * int.from_bytes(file.read(8), "little"), 1)


def _check_lists(found: Faiss) -> None:
    """Refuse lists that do not hold each of the ids 0 to N - 1 once, or rows not of length 1."""
    lists = found.invlists
    centroids = flat_rows(found.quantizer)
    if lists.nlist != found.nlist or lists.code_size != 4 * found.d:
        raise ValueError("its lists are of another shape than it is")
    if centroids.shape != (found.nlist, found.d) or not np.isfinite(centroids).all():
        raise ValueError("its centroids are not finite, or of another shape than it is")
    if sum(map(lists.list_size, range(found.nlist))) != found.ntotal:
        raise _wrong_ids(found.ntotal)
    # A byte a row, and of the rows a list at a time: there may be more than memory holds.
    seen = np.zeros(found.ntotal, bool)
    for _, ids, rows in lists_of(found):
        unit_rows("index", rows)
        if 0 <= ids.min() <= ids.max() < len(seen):
            seen[ids] = True
    if not seen.all():
        raise _wrong_ids(len(seen))


def _check_graph(graph: Faiss, shape: tuple[int, int]) -> None:
    """Refuse a graph whose links lead out of it, or rows not of length 1."""
    if not isinstance(graph, faiss.IndexHNSWFlat) or (graph.ntotal, graph.d) != shape:
        raise TypeError(f"it maps the ids of a {type(graph).__name__} of another shape")
    rows = flat_rows(graph.storage)
    if rows.shape != shape:
        raise ValueError("the graph's rows are of another shape than it is")
    unit_rows("index", rows)
    hnsw: Faiss = graph.hnsw
    num = len(rows)
    per_level, levels, links = (
        faiss.vector_to_array(getattr(hnsw, name))
        for name in ("cum_nneighbor_per_level", "levels", "neighbors")
    )
    starts = faiss.vector_to_array(hnsw.offsets).astype(np.int64)
    sound = (
        len(levels) == num
        and len(per_level) > levels.max() >= levels.min() >= 1
        and per_level[0] == 0
        and (np.diff(per_level) >= 0).all()
        and len(starts) == num + 1
        and starts[0] == 0
        and (np.diff(starts) == per_level[levels]).all()
        and starts[-1] == len(links)
        and -1 <= links.min(initial=-1) <= links.max(initial=-1) < num
        and 0 <= hnsw.entry_point < num
        and levels[hnsw.entry_point] == levels.max() == hnsw.max_level + 1
    )
    if not sound or not all(
        _stays(n, levels, starts, per_level, links) for n in range(1, levels.max())
    ):
        raise ValueError("the links of its graph lead out of it")


def _stays(level: int, levels: Ints, starts: Ints, per_level: Ints, links: Ints) -> bool:
    """Return whether the links of a level lead to rows that are on it."""
    there = np.flatnonzero(levels > level)
    places = starts[there, None] + np.arange(per_level[level], per_level[level + 1])
    reached = links[places]
    return bool((levels[reached[reached >= 0]] > level).all())


def _check_ids(ids: Int64[np.ndarray, " n"], num: int) -> None:
    if len(ids) != num or not (np.sort(ids) == np.arange(num)).all():
        raise _wrong_ids(num)


def _wrong_ids(num: int) -> ValueError:
    return ValueError(f"its ids are not those from 0 to {num - 1}, each once")
