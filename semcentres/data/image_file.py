"""One image file to one square of bytes: upright, 8 bits, 1 or 3 channels, nothing hidden."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from centre_builders.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000
MODES = {1: "L", 3: "RGB"}  # channels to Pillow's name
# What Pillow raises for a file that is no image, is cut off, or would fill the memory.
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def load_image(
    path: Path, size: int, channels: int = 3
) -> UInt8[np.ndarray, "{channels} {size} {size}"]:
    """Return an image file as bytes, upright, its centred square resized.

    Transparency is laid on white; 16 bits a channel become 8; of an animation the first frame is
    taken.

    Raises:
        InputError: the file is not an image of a known format, is damaged, or is too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            check_pixels(*image.size)
            return square(image, size, channels)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error that names a file and what is wrong with it."""
    # Pillow's text repeats the path, some of it the memory address of the open file.
    reason = "no image of a known format" if "cannot identify" in str(error) else error
    return InputError(f"{path} is not a readable image ({reason}); mend or remove it")


def check_pixels(width: int, height: int) -> None:
    """Refuse an image that would take too much memory; its pixels are not yet read.

    Raises:
        ValueError: it has more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels, {MAX_PIXELS} at most")


def square(
    image: Image.Image, size: int, channels: int
) -> UInt8[np.ndarray, "{channels} {size} {size}"]:
    """Return an opened image as `load_image` does.

    Raises:
        ValueError: its pixels are floats or 32-bit integers, whose range is not known.
        OSError: it is damaged.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError(
            f"mode {image.mode}, whose range of values is not known; save 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):
        # Pillow's own conversion would clip to white all that is above 255.
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    fitted = ImageOps.fit(image.convert(MODES[channels]), (size, size))
    return np.asarray(fitted).reshape(size, size, channels).transpose(2, 0, 1)
