"""A data set as a list of image files: known at once, read when it is needed.

Dimensions: N images, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.data.decoded import Decoded, decoded
from semcentres.data.image_file import MODES
from semcentres.data.source import ImageSet, Source
from semcentres.randomness import generator


@dataclass(frozen=True)
class ImageFile:
    """One image.

    Args:
        path: of the file.
        id: what it is called in reports: its path within the data set.
        label: row of its class, -1 where it is not known.
    """

    path: Path
    id: str
    label: int


@dataclass(frozen=True)
class FileSource:
    """What a `Source` will be made of; the pixels are not yet read.

    Args:
        name: what the source is called in reports.
        class_names: one a class; their order gives the labels.
        train: to train on, with or without label.
        test: held out, for reporting only.
        validation: held out, to tune on.
        origin: where the files were found.
        size: side in pixels of the squares that are made of them, at least 1.
        channels: 1 (grey) or 3 (RGB).
        max_unreadable: share of the files that may be unreadable, and are left out, in [0, 1).
        ignored: suffix to number of the files beside them that are no images by their names.

    Raises:
        InputError: an option is out of its range, or a split is empty.
    """

    name: str
    class_names: tuple[str, ...]
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]
    validation: tuple[ImageFile, ...] = ()
    origin: str = ""
    size: int = 32
    channels: int = 3
    max_unreadable: float = 0.0
    ignored: Mapping[str, int] = field(default_factory=dict)
    novel_names: tuple[str, ...] = ()
    parents: None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be read, before it is."""
        if self.size < 1 or self.channels not in MODES:
            raise InputError(
                f"size={self.size}, channels={self.channels}: wanted 1 pixel at least, and 1 or 3"
                " channels; set data.source.size and data.source.channels"
            )
        if not 0 <= self.max_unreadable < 1:
            raise InputError(f"data.source.max_unreadable={self.max_unreadable} must be in [0, 1)")
        for split, files in (("training", self.train), ("test", self.test)):
            if not files:
                raise InputError(f"{self.name}: no {split} images in {self.origin}")

    @property
    def num_validation(self) -> int:
        """How many images the data itself holds out to tune on."""
        return len(self.validation)

    @cached_property
    def labels(self) -> Int[Tensor, " N"]:
        """Labels of the training images, those for validation last."""
        return _labels((*self.train, *self.validation))

    def read(self) -> Source:
        """Return the data set with its pixels, without the files that are not readable images.

        Raises:
            InputError: they are too many, or are all files of a split; each is logged with the
                reason.
        """
        files = (*self.train, *self.validation, *self.test)
        found = decoded(
            [file.path for file in files],
            size=self.size,
            channels=self.channels,
            max_unreadable=self.max_unreadable,
        )
        return self._without({files[row] for row in found.bad})._of(found)

    def _without(self, bad: set[ImageFile]) -> "FileSource":
        def left(files: tuple[ImageFile, ...]) -> tuple[ImageFile, ...]:
            return tuple(file for file in files if file not in bad)

        return replace(
            self,
            train=left(self.train),
            validation=left(self.validation),
            test=left(self.test),
        )

    def _of(self, found: Decoded) -> Source:
        train, on_disk = (*self.train, *self.validation), found.on_disk
        return Source(
            self.name,
            self.class_names,
            _image_set(found.images[: len(train)], train, on_disk),
            _image_set(found.images[len(train) :], self.test, on_disk),
            origin=self.origin,
            num_validation=self.num_validation,
        )


def hold_out(
    files: Iterable[ImageFile], class_names: Sequence[str], *, share: float, seed: int
) -> tuple[list[ImageFile], list[ImageFile]]:
    """Return what is left and what is held out of every class; one image of each at least.

    Args:
        files: with labels.
        class_names: one a class.
        share: of each class that is held out, in (0, 1).
        seed: of the draw; it depends on the number of a class's files and on its name besides.

    Raises:
        InputError: the share is none, or a class has fewer than two images.
    """
    if not 0 < share < 1:
        raise InputError(f"data.source.test_share={share} must be in (0, 1)")
    of_class: list[list[ImageFile]] = [[] for _ in class_names]
    for file in files:
        of_class[file.label].append(file)
    few = [
        f"{name!r} has {len(own)}"
        for name, own in zip(class_names, of_class, strict=True)
        if len(own) < 2
    ]
    if few:
        raise InputError(
            f"classes with too few images: {', '.join(few)}; each needs 2 at least, one to train on"
            " and one to test on"
        )
    left, held = [], []
    for name, own in zip(class_names, of_class, strict=True):
        order = torch.randperm(len(own), generator=generator(seed, "folder", name))
        chosen = [own[i] for i in order.tolist()]
        num = min(round(share * len(own)) or 1, len(own) - 1)
        held += chosen[:num]
        left += chosen[num:]
    return left, held


def _labels(files: Sequence[ImageFile]) -> Int[Tensor, " N"]:
    return torch.tensor([file.label for file in files], dtype=torch.int64)


def _image_set(images: Tensor, files: Sequence[ImageFile], on_disk: bool) -> ImageSet:
    ids = tuple(file.id for file in files)
    # Absolute: what is made of the data is opened from other folders too.
    paths = tuple(str(file.path.absolute()) for file in files)
    return ImageSet(images, _labels(files), ids, on_disk, paths)
