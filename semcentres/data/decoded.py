"""Image files to one tensor of bytes: in memory, or in a file that is mapped where it is large.

What is decoded into a file is kept, by a hash of the files' paths, sizes and times and of the
squares' side and channels; so a changed file is decoded anew, with all others. Of the data sets
so kept, those used last stay.

Dimensions: N images, C channels, H by W pixels.
"""

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from centre_builders.artefact import read_manifest, sweep, write_folder
from centre_builders.errors import CorruptArtefact, InputError, refused_unless
from centre_builders.text_cache import cache_folder
from semcentres.data.readers import Readers
from semcentres.data.stored import decode
from semcentres.progress import counting

log = logging.getLogger(__name__)
T = TypeVar("T")

MEMORY_SHARE = 0.25  # of the machine's memory, above which images go into a file
KEPT = 4  # data sets whose pixels stay in the cache: those used last
PIXELS = "pixels.u8"
# Files whose tasks wait at a time: a million of them would take a gigabyte.
BLOCK = 1024


@dataclass(frozen=True)
class Decoded:
    """The readable images of some files, in their order.

    Args:
        images: of the files without the bad ones.
        bad: rows of the files that are not readable images, in order.
        on_disk: the images are mapped, read-only, none of them yet in memory.
    """

    images: UInt8[Tensor, "N C H W"]
    bad: Sequence[int] = ()
    on_disk: bool = False


def decoded(
    paths: Sequence[Path], *, size: int, channels: int, max_unreadable: float = 0.0
) -> Decoded:
    """Return the images of files; what is wrong with each bad file is logged.

    Args:
        paths: one file an image.
        size: side in pixels; images are cropped to a centred square and resized.
        channels: 1 or 3.
        max_unreadable: share of the files that may be bad, and are left out, in [0, 1).

    Raises:
        InputError: more files than that are not readable images.
        NoSpace: the disk has no room for the images.
        DiskError: a file does not answer; it is named.
        CorruptArtefact: the kept file has not the length that it was written with.
    """
    shape = (len(paths), channels, size, size)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Each of torchrun's processes on this machine would have its own.
    if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) * prod(shape) <= MEMORY_SHARE * memory:
        images = torch.empty(shape, dtype=torch.uint8)
        told = _fill(images, paths, max_unreadable)
        return Decoded(images[: len(paths) - len(told)], sorted(told))
    folder = cache_folder("images") / _key(paths, shape)
    if folder.is_dir():
        told = dict(read_manifest(folder)["about"].get("unreadable", []))
        _tell(told, len(paths), max_unreadable)
    else:
        log.info("%.1f GB of pixels do not fit into memory; %s", prod(shape) / 1e9, folder)
        told = _write(folder, paths, shape, max_unreadable)
    os.utime(folder)
    _remove_oldest(folder.parent)
    shape = (len(paths) - len(told), *shape[1:])
    return Decoded(_map(folder / PIXELS, shape), sorted(told), on_disk=True)


def _remove_oldest(cache: Path) -> None:
    # A process that has a removed file mapped keeps its pixels until it ends.
    kept = sorted(
        (place for place in cache.iterdir() if not place.name.startswith(".")),
        key=lambda place: place.stat().st_mtime,
    )
    for place in kept[:-KEPT]:
        log.info("removing %s: %d data sets used since are kept", place, KEPT)
        shutil.rmtree(place, ignore_errors=True)


def _key(paths: Sequence[Path], shape: Sequence[int]) -> str:
    digest = sha256(repr(tuple(shape)).encode())
    for path in paths:
        about = path.stat() if path.is_file() else None
        known = about and (about.st_size, about.st_mtime_ns)
        digest.update(repr((str(path.resolve()), known)).encode())
    return digest.hexdigest()[:32]


def _fill(images: Tensor, paths: Sequence[Path], max_unreadable: float) -> dict[int, str]:
    """Decode every file, also after a bad one, and close the gaps; return what is wrong, by row."""
    size, channels = images.shape[-1], images.shape[1]

    def fill(row: int) -> str | None:
        try:
            images[row] = decode(paths[row], size, channels)
        except InputError as error:
            return str(error)
        return None

    told = {
        row: error for row, error in enumerate(in_threads(fill, paths, "images decoded")) if error
    }
    _tell(told, len(paths), max_unreadable)
    for place, row in enumerate(row for row in range(len(paths)) if row not in told):
        if place != row:
            images[place] = images[row]
    return told


def _tell(told: Mapping[int, str], num: int, max_unreadable: float) -> None:
    """Log what is wrong with each bad file, and refuse too many of them."""
    for error in told.values():
        log.error("%s", error)
    if not told:
        return
    if len(told) <= max_unreadable * num:
        log.warning("%d of %d files are left out, named above", len(told), num)
        return
    more = f" (further ones, named above: {len(told) - 1})" if len(told) > 1 else ""
    raise InputError(
        f"{next(iter(told.values()))}{more}; {len(told)} of {num} files are more than"
        f" data.source.max_unreadable={max_unreadable:g} of them"
    )


def in_threads(work: Callable[[int], T], paths: Sequence[Path], what: str) -> Iterator[T]:
    """Yield `work(row)`, which reads a file, for the row of every path, in their order.

    Done by as many threads as there are processors.

    Raises:
        DiskError: a file does not answer; it is named.
    """
    with Readers(os.cpu_count() or 1) as readers, counting(len(paths), what) as count:

        def read(row: int) -> T:
            with readers.reading(paths[row]):
                return work(row)

        for start in range(0, len(paths), BLOCK):
            rows = range(start, min(start + BLOCK, len(paths)))
            for task in [readers.begin(read, row) for row in rows]:
                result = readers.wait(task)
                count(1)
                yield result


def _write(
    folder: Path, paths: Sequence[Path], shape: Sequence[int], max_unreadable: float
) -> dict[int, str]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    about: dict[str, Any] = {"shape": list(shape)}
    with write_folder(folder, about=about, need=prod(shape)) as place:
        with (place / PIXELS).open("wb") as file:
            # Without room a write into the map would kill the process; here it is an error.
            os.posix_fallocate(file.fileno(), 0, prod(shape))
        flat = torch.from_file(
            str(place / PIXELS), shared=True, size=prod(shape), dtype=torch.uint8
        )
        told = _fill(flat.view(*shape), paths, max_unreadable)
        about["unreadable"] = list(told.items())
        os.truncate(place / PIXELS, (len(paths) - len(told)) * prod(shape[1:]))
    return told


def _map(path: Path, shape: Sequence[int]) -> UInt8[Tensor, "N C H W"]:
    found = path.stat().st_size if path.is_file() else 0
    if found != prod(shape):
        raise CorruptArtefact(
            f"{path} has {found} bytes, {prod(shape)} are wanted; remove {path.parent}, and it is"
            " made anew"
        )
    with refused_unless(path, "decoded images"):
        pixels = np.memmap(path, np.uint8, "r", shape=tuple(shape))
    with warnings.catch_warnings():
        # torch knows no read-only tensors; nothing of ours writes into images.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)
