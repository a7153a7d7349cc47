"""What every source of images gives, and where the pixels' statistics come from.

Dimensions: N images, C channels, H by W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b, sha256

import torch
from jaxtyping import Int
from torch import Tensor

from centre_builders.errors import InputError
from centre_builders.taxonomy import Parents

UNLABELLED = -1


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels.

    Args:
        images: uint8 [N C H W], or floats [N F] for plain vectors.
        labels: row of the class, or -1 where it is not known.
        ids: what each image is called, such as its path in the data set; () numbers them.
        on_disk: the images are mapped from a file, and there may be more of them than memory
            holds: they are taken batch by batch.
        paths: the file of each image; () where there are none.
    """

    images: Tensor
    labels: Int[Tensor, " N"]
    ids: Sequence[str] = ()
    on_disk: bool = False
    paths: Sequence[str] = ()

    def __len__(self) -> int:
        """Return N."""
        return len(self.images)

    def take(self, rows: Int[Tensor, " n"]) -> "ImageSet":
        """Return some of the images, in memory."""
        told = (self.ids, self.paths)
        ids, paths = (tuple(names[i] for i in rows.tolist()) if names else () for names in told)
        return ImageSet(self.images[rows], self.labels[rows], ids, paths=paths)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """A short hash of each image's pixels."""
        return tuple(
            blake2b(image.tobytes(), digest_size=8).hexdigest() for image in self.images.numpy()
        )


@dataclass(frozen=True)
class Source:
    """A data set: class names, training images and test images.

    Args:
        name: what the source is called in reports.
        class_names: one a class; their order gives the labels.
        train: images to train on; labels of -1 are used without one.
        test: held-out images, used for reporting only.
        origin: where the images were found.
        num_validation: how many images, the last of `train`, the data itself holds out to tune on.
        novel_names: names of classes that are never trained, none of them in `class_names`.
        novel: images of these classes; labels are rows of `novel_names`.
        parents: child to parent (or parents): a hierarchy of seen and novel names.
    """

    name: str
    class_names: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    origin: str = field(default="", compare=False)
    num_validation: int = 0
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

    @property
    def labels(self) -> Int[Tensor, " N"]:
        """Labels of the training images."""
        return self.train.labels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of class names, pixels and labels: a changed data set has another one."""
        digest = sha256(repr(self.class_names).encode())
        if self.novel_names:
            digest.update(repr(self.novel_names).encode())
        if self.num_validation:
            digest.update(repr(self.num_validation).encode())
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
        # Counts are exact in any order, and take no memory.
        counts = torch.zeros(self.channels, 256, dtype=torch.float64)
        for part in self.train.images[::step].split(256):
            for channel, pixels in enumerate(part.unbind(1)):
                counts[channel] += pixels.flatten().bincount(minlength=256)
        values, num = torch.arange(256, dtype=torch.float64) / 255, counts[0].sum()
        mean = counts @ values / num
        squares = (counts * (values - mean[:, None]) ** 2).sum(dim=1)
        std = (squares / (num - 1)).sqrt().clamp(min=1e-3)
        return mean.tolist(), std.tolist()
