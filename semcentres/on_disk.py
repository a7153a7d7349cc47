"""An inverted file whose lists stay in a file of their own, for more rows than memory holds.

The lists' centroids are learnt from a sample, each shard of rows is put into lists by itself, and
FAISS merges them on the disk. Beside the index lies `index.ivfdata`, which a search maps.

Dimensions: N rows, D columns, k neighbours.
"""

# torch comes first: see index.py.
import torch  # noqa: F401  # isort: skip

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
from faiss.contrib.ondisk import merge_ondisk

from centre_builders.artefact import write_folder
from centre_builders.disk import writing
from centre_builders.errors import InputError
from semcentres.approximate import SAMPLE, draw, exact_cosines, lists_for, tell_recall, widen
from semcentres.approximate_index import ApproximateIndex, Recall
from semcentres.faiss_files import LISTS_NAME, silence, write_faiss
from semcentres.faiss_kinds import Faiss, num_lists
from semcentres.index import FILE_NAME, Beside
from semcentres.shards import Shards


def save_on_disk(
    folder: Path,
    rows: Shards,
    about: Mapping[str, Any],
    beside: Beside,
    *,
    recall: float = 0.95,
    k: int = 10,
) -> ApproximateIndex:
    """Write the index of all rows to a folder, whole or not at all, and return it.

    Args:
        folder: one that is there is replaced.
        rows: shards of unit rows; one is in memory at a time.
        about: as of `Index.save`.
        beside: likewise.
        recall: wanted of recall@k, measured on rows that are left out of their own search.
        k: neighbours.

    Raises:
        InputError: there are fewer than two rows.
    """
    if len(rows) < 2:
        raise InputError(f"an inverted file needs two rows at least, got {len(rows)}")
    made = {**about, "shape": [len(rows), rows.dimension]}
    # While they are merged, the lists of each part lie beside those of all.
    with write_folder(folder, about=made, need=2 * _size(rows)) as temporary:
        found = _merged(rows, temporary)
        width, measured = _measured(found, rows, recall, k)
        # `made` is written when the block ends.
        made["width"] = width
        made["recall"] = [measured.value, measured.k, measured.num_rows]
        write_faiss(found, temporary / FILE_NAME)
        beside(temporary)
        del found  # it maps the lists
    tell_recall(f"IVF {num_lists(len(rows))} lists on disk, nprobe {width}", recall, measured)
    return ApproximateIndex.load(folder)


def _size(rows: Shards) -> int:
    """Return the bytes of vectors and ids."""
    return len(rows) * (4 * rows.dimension + 8)


def _merged(rows: Shards, folder: Path) -> Faiss:
    """Return the inverted file, its lists in the folder."""
    found = lists_for(rows)
    with TemporaryDirectory(dir=folder) as blocks:
        names = []
        for number, shard in enumerate(rows.shards):
            block = faiss.clone_index(found)
            ids = np.arange(shard.first, shard.first + len(shard.index))
            block.add_with_ids(shard.index.vectors, ids)
            names.append(f"{blocks}/{number}.faiss")
            write_faiss(block, Path(names[-1]))
        lists_file = folder / LISTS_NAME
        need = _size(rows)
        with writing(lists_file, need):
            if disk_usage(folder).free < need:  # FAISS writes into a map, which would kill us
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(lists_file))
        with silence():
            merge_ondisk(found, names, str(lists_file))
    lists: Faiss = faiss.downcast_InvertedLists(found.invlists)
    lists.filename = LISTS_NAME  # of a folder that will be called otherwise
    return found


def _measured(found: Faiss, rows: Shards, wanted: float, k: int) -> tuple[int, Recall]:
    """Return the least width, by doubling, that has the recall wanted, and the recall it has."""
    drawn = draw(len(rows), min(SAMPLE, len(rows)))
    queries = rows.rows(drawn)
    last = rows.search(queries, k, exclude=drawn).cosines[:, -1:]

    def recall_of(width: int) -> float:
        searched = ApproximateIndex(found, width, Recall(0.0, k, 0))
        ids = searched.search(queries, k, exclude=drawn).ids
        return float((exact_cosines(rows, queries, ids) >= last).mean())

    width, value = widen(found, k, wanted, recall_of)
    return width, Recall(value, k, len(drawn))
