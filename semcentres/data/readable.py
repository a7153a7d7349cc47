"""Image files of which some may be unreadable: the others are decoded, some ahead of their use.

Dimensions: n images of a batch, C channels.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.data.stored import decode

# Of red, green and blue in the luma of ITU-R 601-2, as Pillow rounds them, in 1/65536.
LUMA = (19595, 38470, 7471)
AHEAD = 2  # batches that are decoded before they are asked for


@dataclass(frozen=True)
class ReadBatch:
    """Images that could be read, and what is wrong with the others.

    Attributes:
        rows: place of each image in the list of files.
        images: of these rows.
        faults: place of each other file to what is wrong with it, the file named.
    """

    rows: list[int]
    images: UInt8[Tensor, "n C S S"]
    faults: dict[int, str]


def read_image(path: Path, *, size: int, channels: int) -> UInt8[Tensor, "C S S"]:
    """Return an image file as bytes, upright, its centred square resized.

    Args:
        path: of the file.
        size: side in pixels.
        channels: 1 (grey) or 3 (RGB).

    Raises:
        InputError: the file is not a readable image; it is named.
    """
    image = decode(path, size)
    if channels == 3:
        return image
    weighed = torch.einsum("chw,c->hw", image.int(), torch.tensor(LUMA, dtype=torch.int32))
    return ((weighed + (1 << 15)) >> 16).to(torch.uint8)[None]


def read_files(
    paths: Sequence[Path], *, size: int, channels: int, batch_size: int = 256
) -> Iterator[ReadBatch]:
    """Yield all files in order, batch by batch; memory does not depend on their number.

    Args:
        paths: of the files.
        size: side in pixels.
        channels: 1 or 3.
        batch_size: files of a batch.
    """

    def read(path: Path) -> Tensor | str:
        try:
            return read_image(path, size=size, channels=channels)
        except InputError as error:
            return str(error)

    starts = range(0, len(paths), batch_size)
    pool = ThreadPoolExecutor(thread_name_prefix="decode")
    waiting: deque[list[Future[Tensor | str]]] = deque()
    try:
        for number, start in enumerate(starts):
            waiting.append([pool.submit(read, path) for path in paths[start : start + batch_size]])
            if number >= AHEAD:
                yield _batch(starts[number - AHEAD], waiting.popleft(), size, channels)
        for start in starts[-len(waiting) :] if waiting else ():
            yield _batch(start, waiting.popleft(), size, channels)
    finally:
        pool.shutdown(cancel_futures=True)


def _batch(
    start: int, tasks: Sequence[Future[Tensor | str]], size: int, channels: int
) -> ReadBatch:
    found = {start + place: task.result() for place, task in enumerate(tasks)}
    read = {row: image for row, image in found.items() if isinstance(image, Tensor)}
    faults = {row: fault for row, fault in found.items() if isinstance(fault, str)}
    images = torch.stack(list(read.values())) if read else torch.empty(0, channels, size, size)
    return ReadBatch(list(read), images.to(torch.uint8), faults)
