"""Image files to one tensor of bytes: in memory, or in a file that is mapped where it is large.

What is decoded into a file is kept, by a hash of the files' paths, sizes and times and of the
squares' side and channels; so a changed file is decoded anew, with all others.

Dimensions: N images, C channels, H by W pixels.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from centre_builders.artefact import sweep, write_folder
from centre_builders.errors import CorruptArtefact, InputError
from centre_builders.text_cache import cache_folder
from semcentres.data.stored import decode
from semcentres.progress import counting

log = logging.getLogger(__name__)
T = TypeVar("T")

MEMORY_SHARE = 0.25  # of the machine's memory, above which images go into a file
PIXELS = "pixels.u8"
# Files whose tasks wait at a time: a million of them would take a gigabyte.
BLOCK = 1024


def decoded(
    paths: Sequence[Path], *, size: int, channels: int
) -> tuple[UInt8[Tensor, "N C H W"], bool]:
    """Return the images, and whether they are on disk: mapped, read-only, none yet in memory.

    Args:
        paths: one file an image.
        size: side in pixels; images are cropped to a centred square and resized.
        channels: 1 or 3.

    Raises:
        InputError: files are not readable images. All are logged, each with the reason.
        NoSpace: the disk has no room for the images.
        CorruptArtefact: the kept file has not the length that it was written with.
    """
    shape = (len(paths), channels, size, size)
    if prod(shape) <= MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        images = torch.empty(shape, dtype=torch.uint8)
        _fill(images, paths)
        return images, False
    folder = cache_folder("images") / _key(paths, shape)
    if not folder.is_dir():
        log.info("%.1f GB of pixels do not fit into memory; %s", prod(shape) / 1e9, folder)
        _write(folder, paths, shape)
    return _map(folder / PIXELS, shape), True


def _key(paths: Sequence[Path], shape: Sequence[int]) -> str:
    digest = sha256(repr(tuple(shape)).encode())
    for path in paths:
        about = path.stat() if path.is_file() else None
        known = about and (about.st_size, about.st_mtime_ns)
        digest.update(repr((str(path.resolve()), known)).encode())
    return digest.hexdigest()[:32]


def _fill(images: Tensor, paths: Sequence[Path]) -> None:
    """Decode every file, also after a bad one, so that all bad ones are told at once."""
    size, channels = images.shape[-1], images.shape[1]

    def fill(row: int) -> str | None:
        try:
            images[row] = decode(paths[row], size, channels)
        except InputError as error:
            return str(error)
        return None

    bad = [error for error in in_threads(fill, len(paths), "images decoded") if error]
    for error in bad:
        log.error("%s", error)
    if bad:
        more = f" (further ones, named above: {len(bad) - 1})" if len(bad) > 1 else ""
        raise InputError(f"{bad[0]}{more}")


def in_threads(work: Callable[[int], T], num: int, what: str) -> Iterator[T]:
    """Yield `work(row)` for every row in order, done by as many threads as there are processors."""
    with ThreadPoolExecutor(thread_name_prefix="decode") as pool, counting(num, what) as count:
        for start in range(0, num, BLOCK):
            for result in pool.map(work, range(start, min(start + BLOCK, num))):
                count(1)
                yield result


def _write(folder: Path, paths: Sequence[Path], shape: Sequence[int]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    with write_folder(folder, about={"shape": list(shape)}) as place:
        with (place / PIXELS).open("wb") as file:
            # Without room a write into the map would kill the process; here it is an error.
            os.posix_fallocate(file.fileno(), 0, prod(shape))
        flat = torch.from_file(
            str(place / PIXELS), shared=True, size=prod(shape), dtype=torch.uint8
        )
        _fill(flat.view(*shape), paths)


def _map(path: Path, shape: Sequence[int]) -> UInt8[Tensor, "N C H W"]:
    found = path.stat().st_size if path.is_file() else 0
    if found != prod(shape):
        raise CorruptArtefact(
            f"{path} has {found} bytes, {prod(shape)} are wanted; remove {path.parent}, and it is"
            " made anew"
        )
    pixels = np.memmap(path, np.uint8, "r", shape=tuple(shape))
    with warnings.catch_warnings():
        # torch knows no read-only tensors; nothing of ours writes into images.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)
