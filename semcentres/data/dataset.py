"""A `torch.utils.data.Dataset` of yours as a source, for training from Python.

In use:

    source = from_dataset(train, class_names, test=test, size=64)
    semcentres.train("centres=sentence", source=source)
"""

from collections.abc import Sequence, Sized
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from centre_builders.errors import InputError, UsageError
from semcentres.data.image_file import MODES, square
from semcentres.data.source import UNLABELLED, ImageSet, Source
from semcentres.progress import counting


def from_dataset(
    train: Dataset[Any],
    class_names: Sequence[str],
    *,
    test: Dataset[Any],
    size: int = 32,
    channels: int = 3,
    num_workers: int = 0,
    name: str = "dataset",
) -> Source:
    """Return the images of two map-style data sets, in memory.

    Each item is a pair of an image and a label. A PIL image becomes a square as a file does; a
    uint8 tensor [`channels` `size` `size`] is taken as it is. A label is the row of the class's
    name, or -1 where it is not known. Random augmentation does not belong here: every item is
    taken once.

    Args:
        train: to train on.
        class_names: one a class.
        test: held out, for reporting only; all labels known.
        size: side in pixels.
        channels: 1 (grey) or 3 (RGB).
        num_workers: processes that call `__getitem__`; 0 calls it here.
        name: what the source is called in reports.

    Raises:
        InputError: an item is none of these; it is named by its number.
    """
    if size < 1 or channels not in MODES:
        raise InputError(f"size={size}, channels={channels}: wanted 1 at least, and 1 or 3")
    parts = (
        _read(_Items(items, split, size, channels, range(least, len(class_names))), num_workers)
        for split, items, least in (("train", train, UNLABELLED), ("test", test, 0))
    )
    return Source(name, tuple(class_names), next(parts), next(parts), "a Dataset in Python")


def only_in_python(*, name: str) -> Source:
    """Refuse: the configuration of a run names this where its images came from Python.

    Raises:
        UsageError: always; it says what to do.
    """
    raise UsageError(
        f"the images of this run ({name}) came from Python; give them there again, as"
        " semcentres.evaluate(..., source=source)"
    )


def _read(items: "_Items", num_workers: int) -> ImageSet:
    images = torch.empty(len(items), items.channels, items.size, items.size, dtype=torch.uint8)
    labels = torch.empty(len(items), dtype=torch.int64)
    done = 0
    with counting(len(items), f"{items.split} images decoded") as count:
        for pixels, numbers in DataLoader(items, 256, num_workers=num_workers):
            part = slice(done, done + len(numbers))
            images[part], labels[part] = pixels, numbers
            done += len(numbers)
            count(len(numbers))
    return ImageSet(images, labels)


class _Items(Dataset[tuple[Tensor, int]]):
    """The items of another data set, checked; what goes wrong names the item."""

    def __init__(
        self,
        items: Any,  # noqa: ANN401
        split: str,
        size: int,
        channels: int,
        labels: range,
    ) -> None:
        if not isinstance(items, Sized):
            raise InputError(f"{split} has no length; give a map-style Dataset")
        self.items: Any = items
        self.split, self.labels = split, labels
        self.size, self.channels = size, channels

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        try:
            image, label = self.items[row]
            return self._pixels(image), self._label(label)
        except (OSError, ValueError, TypeError, SyntaxError) as error:
            raise InputError(f"item {row} of {self.split}: {error}") from error

    def _pixels(self, image: Any) -> Tensor:  # noqa: ANN401
        if isinstance(image, Image.Image):
            return torch.tensor(square(image, self.size, self.channels))
        wanted = (self.channels, self.size, self.size)
        if not isinstance(image, Tensor):
            raise TypeError(f"{type(image).__name__}, wanted a PIL image or a uint8 tensor")
        if image.dtype != torch.uint8 or image.shape != wanted:
            raise ValueError(f"{image.dtype} {tuple(image.shape)}, wanted torch.uint8 {wanted}")
        return image

    def _label(self, label: Any) -> int:  # noqa: ANN401
        number = int(label)
        if number not in self.labels:
            raise ValueError(f"label {number}, wanted {self.labels[0]} to {self.labels[-1]}")
        return number
