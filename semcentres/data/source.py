"""What every source of images gives, and where the pixels' statistics come from.

Dimensions: N images, C channels, H by W pixels.
"""

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

import torch
from jaxtyping import Int
from torch import Tensor

from centre_builders.errors import InputError
from centre_builders.taxonomy import Parents

UNLABELLED = -1


@dataclass(frozen=True)
class ImageSet:
    """Images in memory and their labels.

    Args:
        images: uint8 [N C H W], or floats [N F] for plain vectors.
        labels: row of the class, or -1 where it is not known.
    """

    images: Tensor
    labels: Int[Tensor, " N"]

    def __len__(self) -> int:
        """Return N."""
        return len(self.images)


@dataclass(frozen=True)
class Source:
    """A data set: class names, training images and test images.

    Args:
        name: what the source is called in reports.
        class_names: one a class; their order gives the labels.
        train: images to train on; labels of -1 are used without one.
        test: held-out images, used for reporting only.
        origin: where the images were found.
        novel_names: names of classes that are never trained, none of them in `class_names`.
        novel: images of these classes; labels are rows of `novel_names`.
        parents: child to parent (or parents): a hierarchy of seen and novel names.
    """

    name: str
    class_names: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    origin: str = field(default="", compare=False)
    novel_names: tuple[str, ...] = ()
    novel: ImageSet | None = None
    parents: Parents | None = None

    def __post_init__(self) -> None:
        """Refuse an empty set, and novel classes without images or among the seen ones."""
        for split, images in (("training", self.train), ("test", self.test)):
            if not len(images):
                raise InputError(f"{self.name}: no {split} images in {self.origin}")
        if bool(self.novel_names) != bool(self.novel):
            raise InputError(
                f"{self.name}: {len(self.novel_names)} novel names with"
                f" {len(self.novel or ())} images; give both or neither"
            )
        both = sorted(set(self.novel_names) & set(self.class_names))
        if both:
            raise InputError(f"{self.name}: {both[0]!r} is both seen and novel; take it from one")

    @property
    def channels(self) -> int:
        """Number of channels of an image, or of columns of a vector."""
        return self.train.images.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of class names, pixels and labels: a changed data set has another one."""
        digest = sha256(repr(self.class_names).encode())
        if self.novel_names:
            digest.update(repr(self.novel_names).encode())
        for split in (self.train, self.test, *([self.novel] if self.novel else [])):
            digest.update(repr(tuple(split.images.shape)).encode())
            digest.update(split.images.contiguous().numpy().data)
            digest.update(split.labels.contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel of the training images.

        Taken from at most 10,000 evenly spaced images, in [0, 1] for uint8 pixels; plain
        vectors are left as they are.
        """
        if self.train.images.dtype != torch.uint8:
            return [0.0] * self.channels, [1.0] * self.channels
        step = max(1, len(self.train) // 10_000)
        pixels = self.train.images[::step].double() / 255
        std, mean = torch.std_mean(pixels, dim=(0, 2, 3))
        return mean.tolist(), std.clamp(min=1e-3).tolist()
