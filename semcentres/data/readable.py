"""Image files of which some may be bad: the good ones in batches, the bad ones by name.

Dimensions: B images, C channels, S by S pixels.
"""

from collections.abc import Iterator, Sequence
from multiprocessing.pool import AsyncResult
from pathlib import Path

import torch
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.data.found import find_below, warn_of_ignored
from semcentres.data.image_file import SUFFIXES
from semcentres.data.readers import Readers
from semcentres.data.stored import decode

WORKERS = 2


def find_images(places: Sequence[str | Path]) -> list[Path]:
    """Return files, and the image files below folders, sorted within each folder.

    Raises:
        InputError: a place is not there, or there is no image in all of them.
    """
    found: list[Path] = []
    for place in (Path(p).expanduser() for p in places):
        if not place.exists():
            raise InputError(f"{place} is neither a file nor a folder")
        if place.is_dir():
            below, others = find_below(place)
            warn_of_ignored(place, others)
            found += below
        else:
            found.append(place)
    if not found:
        told = ", ".join(map(str, places))
        raise InputError(f"no images in {told}; they end in {', '.join(sorted(SUFFIXES))}")
    return found


def read_images(
    paths: Sequence[Path], *, size: int, channels: int, batch: int
) -> Iterator[tuple[list[Path], Tensor, list[str]]]:
    """Yield, batch by batch, the readable files, their images, and what is wrong with the others.

    The next batch is decoded while the last one is in use.

    Args:
        paths: of the files.
        size: side in pixels.
        channels: 3, or 1 for grey.
        batch: files at a time.

    Yields:
        Paths, uint8 images [B C S S], and one line for each unreadable file.

    Raises:
        DiskError: a file does not answer; it is named.
    """
    with Readers(WORKERS) as readers:

        def begin(part: Sequence[Path]) -> list[AsyncResult[Tensor | str]]:
            return [readers.begin(_try, readers, path, size, channels) for path in part]

        parts = [paths[start : start + batch] for start in range(0, len(paths), batch)]
        tasks = begin(parts[0]) if parts else []
        for number, part in enumerate(parts):
            done = [readers.wait(task) for task in tasks]
            tasks = begin(parts[number + 1]) if number + 1 < len(parts) else []
            pairs = list(zip(part, done, strict=True))
            good = [(path, image) for path, image in pairs if isinstance(image, Tensor)]
            bad = [image for _, image in pairs if isinstance(image, str)]
            images = torch.empty(len(good), channels, size, size, dtype=torch.uint8)
            for row, (_, image) in enumerate(good):
                images[row] = image
            yield [path for path, _ in good], images, bad


def _try(readers: Readers, path: Path, size: int, channels: int) -> Tensor | str:
    try:
        with readers.reading(path):
            return decode(path, size, channels)
    except InputError as error:
        return str(error)
