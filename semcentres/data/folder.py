"""Your own images: a folder a class, and `unlabelled/` for the images without a label."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from centre_builders.errors import InputError
from semcentres.data.source import UNLABELLED, ImageSet, Source
from semcentres.randomness import generator

UNLABELLED_FOLDER = "unlabelled"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000


def folder(*, root: str | None, size: int = 32, test_share: float = 0.2, seed: int = 0) -> Source:
    """Return the images below `root`, square, RGB, in memory.

    Args:
        root: holds a folder a class, whose name is the class's name, and perhaps `unlabelled/`.
        size: side in pixels; images are cropped to a centred square and resized.
        test_share: share of each class's images that is held out, in (0, 1).
        seed: of the choice of held-out images.

    Raises:
        InputError: no such folder, no class, a class with fewer than two images, or a file that
            is not a readable image; it is named.
    """
    if root is None:
        raise InputError(
            "data=folder needs data.root=FOLDER, which holds a folder of images a class"
        )
    base = Path(root).expanduser()
    classes = _class_folders(base)
    train, test = [], []
    for label, place in enumerate(classes):
        files = _image_files(place)
        order = torch.randperm(len(files), generator=generator(seed, "folder", place.name))
        num_test = round(test_share * len(files)) or 1
        if len(files) < 2:
            raise InputError(
                f"class {place.name!r} has {len(files)} images in {place}; it needs 2 at least,"
                " one to train on and one to test on"
            )
        chosen = [(files[i], label) for i in order.tolist()]
        test += chosen[:num_test]
        train += chosen[num_test:]
    train += [(file, UNLABELLED) for file in _image_files(base / UNLABELLED_FOLDER)]
    names = tuple(place.name for place in classes)
    return Source(base.name, names, _load(train, size), _load(test, size), origin=str(base))


def load_image(path: Path, size: int) -> np.ndarray:
    """Return an image file as uint8 [3 size size], upright, transparency laid on white.

    Raises:
        InputError: the file is not an image of a known format, is damaged, or is too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels, {MAX_PIXELS} at most")
            return _square(ImageOps.exif_transpose(image), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a readable image ({error}); mend or remove it") from error


def _square(image: Image.Image, size: int) -> np.ndarray:
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
    fitted = ImageOps.fit(image.convert("RGB"), (size, size))
    return np.asarray(fitted).transpose(2, 0, 1)


def _class_folders(base: Path) -> list[Path]:
    if not base.is_dir():
        raise InputError(
            f"{base} is not a folder; set data.root to one that holds a folder of images a class"
        )
    found = [p for p in base.iterdir() if p.is_dir() and not p.name.startswith(".")]
    classes = sorted(p for p in found if p.name != UNLABELLED_FOLDER)
    if not classes:
        raise InputError(f"{base} holds no class folders; make one a class, named like the class")
    return classes


def _image_files(place: Path) -> list[Path]:
    return sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _load(items: Sequence[tuple[Path, int]], size: int) -> ImageSet:
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(lambda item: load_image(item[0], size), items))
    labels = torch.tensor([label for _, label in items], dtype=torch.int64)
    shape = (-1, 3, size, size)
    return ImageSet(torch.from_numpy(np.array(pixels, dtype=np.uint8)).view(shape), labels)
