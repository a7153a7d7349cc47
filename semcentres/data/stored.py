"""Images that stay in their files: decoded batch by batch, some batches ahead of their use.

Only decoding is done here, to bytes; views are made of whole batches on the training device.
Threads are enough, because the decoders and the resizing let go of Python's lock.

Dimensions: batches need not be equally long, so their axis has no letter.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from multiprocessing.pool import AsyncResult
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps
from simplejpeg import decode_jpeg, decode_jpeg_header
from torch import Tensor

from semcentres.data.image_file import check_file, check_pixels, check_scans, load_image
from semcentres.data.readers import Readers
from semcentres.data.room import decoding

# Files that one task decodes: few enough to share a batch evenly, enough to pay for the task.
CHUNK = 16
COLOURS = {1: "GRAY", 3: "RGB"}  # channels to the decoder's name
SHARES = (1 / 8, 1 / 4, 3 / 8, 1 / 2)  # of the pixels a side that decoders give in less time
JPEG = b"\xff\xd8"  # the first bytes of one
EXIF, SEGMENT = b"Exif\0\0", 1 << 16  # what marks it, among the first bytes of a JPEG


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
            DiskError: a file does not answer; it is named.
        """
        waiting: deque[tuple[Tensor, list[AsyncResult[None]]]] = deque()
        with Readers(self.workers) as readers:
            for batch in rows:
                waiting.append(self._begin(readers, batch))
                if len(waiting) > self.ahead:
                    yield _finished(readers, *waiting.popleft())
            while waiting:
                yield _finished(readers, *waiting.popleft())

    def _begin(self, readers: Readers, rows: Tensor) -> tuple[Tensor, list[AsyncResult[None]]]:
        """Return a batch that is being filled, and the tasks that fill it."""
        # Pixel by pixel in memory, as decoders write: turning them round costs a tenth of the time.
        # torch's allocator gives the memory of batches that have gone, whose pages are in use.
        pixels = torch.empty((len(rows), self.size, self.size, self.channels), dtype=torch.uint8)
        images = pixels.permute(0, 3, 1, 2)
        paths = [self.paths[row] for row in rows.tolist()]
        return images, [
            readers.begin(_fill, readers, pixels[at : at + CHUNK], paths[at : at + CHUNK])
            for at in range(0, len(paths), CHUNK)
        ]


def decode(path: Path, size: int, channels: int = 3) -> UInt8[Tensor, "{channels} {size} {size}"]:
    """Return an image file as bytes, upright, its centred square resized.

    JPEG is decoded with as little detail as `size` needs, and resized with a triangle filter.
    `load_image` reads the rest, which is slower, and resizes bicubically.

    Raises:
        InputError: the file is not a readable image; it is named.
    """
    pixels = torch.empty((size, size, channels), dtype=torch.uint8)
    _decode_to(pixels.numpy(), path)
    return pixels.permute(2, 0, 1)


def _decode_to(out: UInt8[np.ndarray, "S S C"], path: Path) -> None:
    size, _, channels = out.shape
    # A bad or rare JPEG is left to the other reader, which reads it or says what is wrong with it.
    with suppress(Exception):
        check_file(path)
        with path.open("rb") as file:
            if file.read(len(JPEG)) == JPEG:
                file.seek(0)
                data = file.read()
                check_scans(data)
                if not _in_place(data, out):
                    out[:] = _jpeg(data, size, channels)
                return
    out[:] = load_image(path, size, channels).transpose(1, 2, 0)


def _in_place(data: bytes, out: UInt8[np.ndarray, "S S C"]) -> bool:
    """Decode a JPEG to where its pixels belong, if it needs no more than that."""
    size, _, channels = out.shape
    if _is_turned(data):
        return False
    try:
        # Its header is read within, and nothing is decoded that is too large.
        pixels = decode_jpeg(
            data, COLOURS[channels], min_height=size, min_width=size, buffer=out.data
        )
    except ValueError:
        return False
    return bool(pixels.shape == out.shape)


def _is_turned(data: bytes) -> bool:
    return data.find(EXIF, 0, SEGMENT) >= 0


def _jpeg(data: bytes, size: int, channels: int) -> UInt8[np.ndarray, "{size} {size} {channels}"]:
    height, width, colours, _ = decode_jpeg_header(data)
    check_pixels(width, height)
    if colours not in ("YCbCr", "Gray"):
        raise ValueError(f"a JPEG of {colours}")
    with decoding(height * width):
        return _smaller_jpeg(data, height, width, size, channels)


def _smaller_jpeg(
    data: bytes, whole_height: int, whole_width: int, size: int, channels: int
) -> UInt8[np.ndarray, "{size} {size} {channels}"]:
    # Reduced by the decoder to no less than `size`; what it then has of the image need not be
    # whole pixels.
    share = next((s for s in SHARES if min(whole_height, whole_width) * s >= size), 1)
    height, width = whole_height * share, whole_width * share
    pixels: UInt8[np.ndarray, "H W C"] = decode_jpeg(
        data, COLOURS[channels], min_height=ceil(height), min_width=ceil(width)
    )
    turned = _is_turned(data)
    if height == width == size and not turned:
        return pixels
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    square = Image.fromarray(pixels if channels == 3 else pixels[..., 0]).resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    if turned:
        with Image.open(BytesIO(data), formats=["JPEG"]) as image:
            square.info["exif"] = image.info.get("exif", b"")
        ImageOps.exif_transpose(square, in_place=True)
    return np.array(square).reshape(size, size, channels)


def _fill(readers: Readers, images: Tensor, paths: Sequence[Path]) -> None:
    for pixels, path in zip(images.numpy(), paths, strict=True):
        with readers.reading(path):
            _decode_to(pixels, path)


def _finished(readers: Readers, images: Tensor, tasks: Sequence[AsyncResult[None]]) -> Tensor:
    for task in tasks:
        readers.wait(task)
    return images
