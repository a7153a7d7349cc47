"""Images to embed, a part of them in memory at a time: files, or the pixels of a data set.

Dimensions: n images of a part, D embedding width.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from centre_builders.items import make_items
from semcentres.data.readable import read_images
from semcentres.data.source import ImageSet
from semcentres.model import Model
from semcentres.queries import image_shape

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 256  # files in memory at a time, and as many being decoded


@dataclass(frozen=True, eq=False)
class Part:
    """What becomes of some images: unit rows, which image each is, and the files left out."""

    vectors: Float32[np.ndarray, "n D"]
    items: "pa.Table"
    faults: list[str]


@runtime_checkable
class Images(Protocol):
    """Images to embed, of which a part is in memory at a time."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def identity(self) -> str:
        """Return what changes when other images are listed, or in another order."""
        ...

    def mark(self, part: slice) -> str:
        """Return what changes when the images of a part do."""
        ...

    def embedded(self, part: slice, model: Model) -> Part:
        """Return the part under a model."""
        ...


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images of a data set, in memory.

    Args:
        images: to embed.
        ids: rows of the data set.
        labels: names of their classes.
        data: fingerprint of the data set.
    """

    images: ImageSet
    ids: np.ndarray
    labels: Sequence[str | None]
    data: str

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.images)

    def identity(self) -> str:
        """Return a hash of the data set and of the rows."""
        return sha256(self.data.encode() + self.ids.tobytes()).hexdigest()

    def mark(self, part: slice) -> str:
        """Return a hash of the data set, of the rows and of where the files are."""
        told = self.data + "".join(self.images.paths[part])
        return sha256(told.encode() + self.ids[part].tobytes()).hexdigest()

    def embedded(self, part: slice, model: Model) -> Part:
        """Return the part under a model."""
        ids, labels = self.ids[part], self.labels[part]
        paths: Sequence[str | None] = self.images.paths[part] or [None] * len(ids)
        items = make_items(ids, paths, labels)
        return Part(model.embed(self.images.images[part]), items, [])


@dataclass(frozen=True, eq=False)
class Files:
    """Image files.

    Args:
        paths: of the files.
        labels: names of their classes.
        about: the model's; `size` and `channels` of its images.
    """

    paths: Sequence[Path]
    labels: Sequence[str | None]
    about: Mapping[str, Any]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.paths)

    def identity(self) -> str:
        """Return a hash of paths and labels; no file is looked at."""
        digest = sha256()
        for path, label in zip(self.paths, self.labels, strict=True):
            digest.update(repr((str(path), label)).encode())
        return digest.hexdigest()

    def mark(self, part: slice) -> str:
        """Return a hash of paths, labels, sizes and times, and of what the model makes of them."""
        digest = sha256(json.dumps(image_shape(self.about)).encode())
        for path, label in zip(self.paths[part], self.labels[part], strict=True):
            at = path.stat() if path.exists() else None
            known = at and (at.st_size, at.st_mtime_ns)
            digest.update(repr((str(path), label, known)).encode())
        return digest.hexdigest()

    def embedded(self, part: slice, model: Model) -> Part:
        """Return the part under a model, without the files that cannot be read."""
        wanted = self.paths[part]
        vectors, ids, faults = [np.empty((0, model.bank.dimension), np.float32)], [], []
        place = 0
        for good, images, bad in read_images(wanted, batch=BATCH, **image_shape(self.about)):
            vectors += [model.embed(images)] if good else []
            for path in good:
                # Those that were read come in the order of the list, in which a path may be twice.
                place = wanted.index(path, place) + 1
                ids.append(part.start + place - 1)
            faults += bad
        paths, labels = [str(self.paths[i]) for i in ids], [self.labels[i] for i in ids]
        items = make_items(np.array(ids, np.int64), paths, labels)
        return Part(np.concatenate(vectors), items, faults)
