"""Pictures out and image files in, as a browser sends and shows them.

Dimensions: C channels, H by W pixels.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from centre_builders.errors import InputError

SIDE = 192  # pixels of a picture that is made from a file


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
