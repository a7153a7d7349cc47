"""One image file to one square of bytes: upright, 8 bits, 1 or 3 channels, nothing hidden.

A file may be anybody's. So bytes, pixels and proportions are looked at before a pixel is read, only
decoders of known formats are asked, and whatever they raise becomes one line that names the file.
"""

import stat
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from centre_builders.errors import InputError
from semcentres.data.room import decoding

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000
MAX_BYTES = 4 * MAX_PIXELS  # as many as 32 bits a pixel without compression
MAX_ASPECT = 50  # longer side to shorter; of such an image the square shows next to nothing
LARGE = 4_000_000  # pixels, above which an image is reduced strip by strip
STRIP = 1_000_000  # pixels of a strip
# A WebP is decoded whole into two canvases and a copy of one: so many times what others take.
WEBP_COST = 3
WEBP_PIXELS = MAX_PIXELS // WEBP_COST
MAX_SCANS, START_OF_SCAN = 100, b"\xff\xda"
MODES = {1: "L", 3: "RGB"}  # channels to Pillow's name
ORIENTATION = 0x0112  # of EXIF
# Pillow keeps pixels in blocks of 16 MB, which the C library does not give back to the system when
# threads free them; what is longer than its 32 MB it does.
Image.core.set_block_size(64 << 20)  # type: ignore[attr-defined]


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
        check_file(path)
        with Image.open(path, formats=FORMATS) as image:
            check_pixels(*image.size)
            if image.format == "WEBP" and image.width * image.height > WEBP_PIXELS:
                raise ValueError(
                    f"{image.width}x{image.height} pixels, {WEBP_PIXELS:,} at most in WebP"
                )
            if image.format == "JPEG":
                check_scans(path.read_bytes())
            cost = WEBP_COST if image.format == "WEBP" else 1
            with decoding(cost * image.width * image.height):
                return square(image, size, channels)
    # Not a list of errors: damaged files lead decoders to nearly every kind there is.
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error that names a file and what is wrong with it."""
    reason = str(error)
    if "cannot identify" in reason:
        # Pillow's text repeats the path, some of it the memory address of the open file.
        reason = "no image of a known format"
    elif "decoder object" in reason:  # all that is said of a WebP
        reason = "cut off or damaged"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    elif not isinstance(error, OSError | ValueError | SyntaxError):
        reason = f"{type(error).__name__}: {reason}"
    gone = isinstance(error, FileNotFoundError) and not path.is_symlink()
    remedy = "name one that is there" if gone else "mend or remove it"
    return InputError(f"{path} is not a readable image ({reason}); {remedy}")


def check_file(path: Path) -> None:
    """Refuse what must not be opened: a pipe would be waited for, a device never ends.

    Raises:
        ValueError: it is not a file, is empty, or has more than `MAX_BYTES`.
        OSError: it is not there, or may not be looked at.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("not an ordinary file")
    if not about.st_size:
        raise ValueError("empty")
    if about.st_size > MAX_BYTES:
        raise ValueError(f"{about.st_size:,} bytes, {MAX_BYTES:,} at most")


def check_pixels(width: int, height: int) -> None:
    """Refuse an image that would take too much memory, or is a line; its pixels are not yet read.

    Raises:
        ValueError: it has more than `MAX_PIXELS`, or one side is `MAX_ASPECT` times the other.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels, {MAX_PIXELS:,} at most")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ValueError(f"{width}x{height} pixels, one side above {MAX_ASPECT} times the other")


def check_scans(data: bytes) -> None:
    """Refuse a JPEG of more passes over its pixels than any camera or program makes.

    A few bytes are enough for a pass, so that some megabytes could be decoded for days.

    Raises:
        ValueError: it has more than `MAX_SCANS`.
    """
    scans = data.count(START_OF_SCAN)
    if scans > MAX_SCANS:
        raise ValueError(f"a JPEG of {scans} scans, {MAX_SCANS} at most")


def square(
    image: Image.Image, size: int, channels: int
) -> UInt8[np.ndarray, "{channels} {size} {size}"]:
    """Return an opened image as `load_image` does.

    Raises:
        ValueError: its pixels are floats or 32-bit integers, whose range is not known.
        OSError: it is damaged.
    """
    if image.mode in ("I", "F"):
        raise ValueError(
            f"mode {image.mode}, whose range of values is not known; save 8 or 16 bits"
        )
    if image.width * image.height > LARGE:
        image.draft(None, (2 * size, 2 * size))  # a JPEG is decoded smaller, others are left
        image = _reduced(image, min(image.size) // (2 * size), channels)
    ImageOps.exif_transpose(image, in_place=True)
    fitted = ImageOps.fit(_plain(image, channels), (size, size))
    return np.asarray(fitted).reshape(size, size, channels).transpose(2, 0, 1)


def _reduced(image: Image.Image, factor: int, channels: int) -> Image.Image:
    """Return an image with the mean of factor x factor pixels in place of each such square.

    Strip by strip, so that no second copy of the whole is made.
    """
    if factor < 2:
        return image
    image.load()
    width, height = image.size
    rows = factor * max(1, STRIP // (width * factor))
    own = 1 if image.mode in ("1", "L") else channels  # grey is a third of the work
    reduced = Image.new(MODES[channels], (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        reduced.paste(_plain(strip, own).reduce(factor), (0, top // factor))
    reduced.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    return reduced


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """Return an image in 8 bits, grey or RGB, without transparency."""
    if image.mode.startswith("I;16"):
        # Pillow's own conversion would clip to white all that is above 255.
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(MODES[channels])
