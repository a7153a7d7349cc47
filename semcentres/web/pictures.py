"""Small pictures of a collection's images, from their files or from pixels in memory.

Dimensions: N images, M rows of a collection, C channels, H by W pixels.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.data.stored import decode

SIDE = 192  # pixels of a picture made from a file
MOST_KEPT = 4096  # pictures, of some kilobytes each

Pictures = Callable[[int], bytes]  # row to WebP; the last few thousand stay in memory


def of_files(path: Callable[[int], Path | None]) -> Pictures:
    """Return image files as WebP, squares of 192 pixels.

    Args:
        path: of the image of a row.
    """

    def picture(row: int) -> bytes:
        file = path(row)
        if file is None:
            raise InputError(f"image {row} has no file")
        return webp(decode(file, SIDE).numpy())

    return lru_cache(MOST_KEPT)(picture)


def of_pixels(images: UInt8[Tensor, "N C H W"], places: Int[np.ndarray, " M"]) -> Pictures:
    """Return images in memory as WebP, in their own size.

    Args:
        images: of a data set.
        places: where the image of each row is among them, in [0, N).
    """
    return lru_cache(MOST_KEPT)(lambda row: webp(images[places[row]].numpy()))


def webp(image: UInt8[np.ndarray, "C H W"]) -> bytes:
    """Return an image as WebP; a small one without loss, since its pixels will be seen."""
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    buffer = io.BytesIO()
    small = max(pixels.shape[:2]) <= 64
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=small, quality=85)
    return buffer.getvalue()


@contextmanager
def as_file(data: bytes) -> Iterator[Path]:
    """Yield what was sent as a file, to be read by what reads image files.

    Raises:
        InputError: the reader's own, told without the file's name.
    """
    with NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            yield Path(file.name)
        except InputError as error:
            if error.__cause__ is None:
                raise
            # Only these do not name the file.
            why = f": {error.__cause__}" if type(error.__cause__) is ValueError else ""
            raise InputError(
                f"this is not a readable image{why}; send JPEG, PNG, WebP, BMP, GIF or TIFF"
            ) from error
