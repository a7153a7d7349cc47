"""Images that stay in their files: decoded batch by batch, some batches ahead of their use.

Only decoding is done here, to bytes; views are made of whole batches on the training device.
Threads are enough, because the decoders and the resizing let go of Python's lock.

Dimensions: batches need not be equally long, so their axis has no letter.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from semcentres.data.image_file import MODES, UNREADABLE, check_pixels, load_image

# Files that one task decodes: few enough to share a batch evenly, enough to pay for the task.
CHUNK = 8


@dataclass(frozen=True)
class StoredImages:
    """Image files, served in batches of equal squares.

    Args:
        paths: one file an image; a row is a place in this list.
        size: side in pixels, at least 1; images are cropped to a centred square and resized.
        channels: 1 or 3.
        workers: threads that decode, at least 1.
        ahead: batches that are decoded before they are asked for, at least 0. This many more
            than the one in use are in memory.

    Raises:
        ValueError: `size`, `workers` or `ahead` is out of its range.
    """

    paths: Sequence[Path]
    size: int
    channels: int = 3
    workers: int = 2
    ahead: int = 2

    def __post_init__(self) -> None:
        """Refuse what no pool can do."""
        for name, least in (("size", 1), ("workers", 1), ("ahead", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def batches(
        self, rows: Iterable[Int[Tensor, " _"]]
    ) -> Iterator[UInt8[Tensor, "_ {self.channels} {self.size} {self.size}"]]:
        """Yield the images of each batch of rows, in the order of the rows.

        The threads end with the last batch, with an error, and when the iterator is closed.

        Raises:
            InputError: a file is not a readable image; it is named, once the batches before its
                own have been served.
        """
        waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        try:
            for batch in rows:
                waiting.append(self._begin(pool, batch))
                if len(waiting) > self.ahead:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, rows: Tensor) -> tuple[Tensor, list[Future[None]]]:
        """Return a batch that is being filled, and the tasks that fill it."""
        images = torch.empty(len(rows), self.channels, self.size, self.size, dtype=torch.uint8)
        paths = [self.paths[row] for row in rows.tolist()]
        return images, [
            pool.submit(_fill, images[at : at + CHUNK], paths[at : at + CHUNK])
            for at in range(0, len(paths), CHUNK)
        ]


def decode(path: Path, size: int, channels: int = 3) -> UInt8[Tensor, "{channels} {size} {size}"]:
    """Return an image file as bytes, upright, its centred square resized.

    JPEG is decoded with as little detail as `size` needs, and resized with a triangle filter.
    `load_image` reads the rest, which is slower, and resizes bicubically.

    Raises:
        InputError: the file is not a readable image; it is named.
    """
    try:
        return torch.from_numpy(_jpeg(path, size, channels)).permute(2, 0, 1)
    except UNREADABLE:
        # No JPEG, or a bad one: then this says what is wrong with it.
        return torch.tensor(load_image(path, size, channels))


def _jpeg(path: Path, size: int, channels: int) -> UInt8[np.ndarray, "{size} {size} {channels}"]:
    mode = MODES[channels]
    with Image.open(path, formats=["JPEG"]) as image:
        check_pixels(image)
        # The decoder reduces by 2, 4 or 8, to no less than `size`; what it then has of the image
        # need not be whole pixels.
        reduced = image.draft(mode, (size, size))
        width, height = reduced[1][2:] if reduced else image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        square = (image if image.mode == mode else image.convert(mode)).resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
        )
        upright = np.array(ImageOps.exif_transpose(square, in_place=False))
        return upright.reshape(size, size, channels)


def _fill(images: Tensor, paths: Sequence[Path]) -> None:
    for image, path in zip(images, paths, strict=True):
        image.copy_(decode(path, image.shape[-1], image.shape[0]))


def _finished(images: Tensor, tasks: Sequence[Future[None]]) -> Tensor:
    for task in tasks:
        task.result()
    return images
