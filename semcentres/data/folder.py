"""Your own images: a folder a class, and `unlabelled/` for the images without a label.

How they lie says what they are:

    pictures/                     or, with a split of your own:  pictures/
      cat/        a.jpg b.png …                                    train/       cat/ …
      sea lion/   …                                                test/        cat/ …
      unlabelled/ …                                                validation/  cat/ … (or none)
                                                                   unlabelled/  …
"""

from collections import Counter
from pathlib import Path

from centre_builders.errors import InputError
from semcentres.data.files import FileSource, ImageFile, hold_out
from semcentres.data.found import find_below, warn_of_ignored
from semcentres.data.image_file import load_image as load_image
from semcentres.data.source import UNLABELLED

UNLABELLED_FOLDER = "unlabelled"
SPLITS = ("train", "test", "validation")


def folder(
    *,
    root: str | None,
    size: int = 32,
    channels: int = 3,
    test_share: float = 0.2,
    max_unreadable: float = 0.01,
    seed: int = 0,
) -> FileSource:
    """Return the image files below `root`; nothing of them is read yet.

    The images are split as they lie where all folders are called train, test, validation or
    unlabelled; what lacks a test folder is split by `test_share`.

    Args:
        root: holds a folder a class, whose name is the class's name, and perhaps `unlabelled/`;
            or a folder a split, with such folders in it.
        size: side in pixels; images are cropped to a centred square and resized.
        channels: 1 (grey) or 3 (RGB).
        test_share: share of each class's images that is held out, in (0, 1).
        max_unreadable: share of the files that may be unreadable, and are left out, in [0, 1).
        seed: of the choice of held-out images.

    Raises:
        InputError: no such folder, no class, a class of the test that is not trained, or a class
            with fewer than two images of which one is to be held out.
    """
    if root is None:
        raise InputError(
            "data=folder needs data.root=FOLDER, which holds a folder of images a class"
        )
    base = Path(root).expanduser()
    splits = _splits(base)
    classes = sorted(place.name for place in _class_folders(splits["train"]))
    ignored: Counter[str] = Counter()
    files = {split: _labelled(base, place, classes, ignored) for split, place in splits.items()}
    places = dict.fromkeys([base / UNLABELLED_FOLDER, splits["train"] / UNLABELLED_FOLDER])
    unlabelled = [file for place in places for file in _files(base, place, UNLABELLED, ignored)]
    # Before a class is found empty because of it.
    warn_of_ignored(base, ignored)
    train, test = files["train"], files.get("test", [])
    if "test" not in splits:
        train, test = hold_out(train, classes, share=test_share, seed=seed)
    train += unlabelled
    return FileSource(
        base.name,
        tuple(classes),
        tuple(train),
        tuple(test),
        validation=tuple(files.get("validation", [])),
        origin=str(base),
        size=size,
        channels=channels,
        max_unreadable=max_unreadable,
        ignored=dict(ignored),
    )


def _splits(base: Path) -> dict[str, Path]:
    """Return the folder of each split; the base itself is the training folder where none is."""
    if not base.is_dir():
        raise InputError(
            f"{base} is not a folder; set data.root to one that holds a folder of images a class"
        )
    found = {place.name for place in _folders(base)}
    splits = {split: base / split for split in SPLITS if split in found}
    # A class may be called train: then there are others beside it, or images right within it.
    if "train" in splits and found <= {*SPLITS, UNLABELLED_FOLDER} and _folders(splits["train"]):
        return splits
    return {"train": base}


def _folders(place: Path) -> list[Path]:
    return sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))


def _class_folders(place: Path) -> list[Path]:
    classes = [p for p in _folders(place) if p.name != UNLABELLED_FOLDER]
    if not classes:
        raise InputError(f"{place} holds no class folders; make one a class, named like the class")
    return classes


def _labelled(
    base: Path, split: Path, classes: list[str], ignored: Counter[str]
) -> list[ImageFile]:
    places = _class_folders(split)
    number_of = {name: number for number, name in enumerate(classes)}
    strange = [place for place in places if place.name not in number_of]
    if strange:
        raise InputError(
            f"{strange[0]} is a class that is not trained; move it below train/, or remove it"
        )
    return [file for p in places for file in _files(base, p, number_of[p.name], ignored)]


def _files(base: Path, place: Path, label: int, ignored: Counter[str]) -> list[ImageFile]:
    found, others = find_below(place)
    ignored += others
    return [ImageFile(path, path.relative_to(base).as_posix(), label) for path in found]
