"""Embedded images that can be searched: an index, and which image each of its rows is.

Dimensions: N images, Q queries, D embedding width, k neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Float32, Int64

from centre_builders.artefact import read_manifest
from centre_builders.embedded import COMPLETE, Parts, all_items, open_parts
from centre_builders.errors import InputError, refused_unless
from centre_builders.items import read_items, write_items
from semcentres.index import Index
from semcentres.indexes import AnyIndex, load_index
from semcentres.shards import Shard, Shards

if TYPE_CHECKING:
    import pyarrow as pa

ITEMS = "items.parquet"


@dataclass(frozen=True)
class Hits:
    """The images nearest to each query, by falling cosine; equal cosines by rising row.

    Attributes:
        rows: of the collection, in [0, N).
        ids: what the collection calls them.
        cosines: in [-1, 1] up to rounding.
    """

    rows: Int64[np.ndarray, "Q k"]
    ids: Int64[np.ndarray, "Q k"]
    cosines: Float32[np.ndarray, "Q k"]


@dataclass(frozen=True, eq=False)
class Collection:
    """Images that one model has embedded, with an index over them; made by `semcentres index`.

    Args:
        index: of the embeddings, row by row.
        items: an image a row, as of `centre_builders.items.make_items`.
        about: `model`, the fingerprint of the model that embedded; `split` and `data`, where the
            images are a run's own.
    """

    index: AnyIndex | Shards
    items: "pa.Table"
    about: Mapping[str, Any]

    @classmethod
    def load(cls, folder: str | Path) -> "Collection":
        """Return the collection that a folder of `index`, or of `embed`, holds.

        Raises:
            InputError: the folder is none.
            CorruptArtefact: a file is not what was written.
        """
        place = Path(folder)
        if (place / COMPLETE).is_file():
            parts = open_parts(place)
            return cls(mapped_shards(parts), all_items(parts), parts.about)
        if not (place / ITEMS).is_file():
            raise InputError(
                f"{place} holds no {ITEMS}; make it with: semcentres index embeddings=DIR"
                f" out={place}"
            )
        # The index verifies all files of the folder before any is parsed.
        index = load_index(place)
        return cls(index, read_items(place / ITEMS, len(index)), read_manifest(place)["about"])

    def __len__(self) -> int:
        """Return N."""
        return len(self.index)

    @property
    def model(self) -> str:
        """Fingerprint of the model that embedded the images."""
        return str(self.about.get("model"))

    @cached_property
    def ids(self) -> Int64[np.ndarray, " N"]:
        """What each row is called: its place in what was embedded."""
        return np.asarray(self.items["id"].to_numpy())

    @property
    def vectors(self) -> Float32[np.ndarray, "N D"]:
        """The embeddings; not to be written to."""
        return self.index.vectors

    def path(self, row: SupportsIndex) -> Path | None:
        """Return the file of a row's image, None where its pixels are a data set's own."""
        path = self.items["path"][row].as_py()
        return None if path is None else Path(path)

    def label(self, row: SupportsIndex) -> str | None:
        """Return the name of a row's class, None where it is not known."""
        label: str | None = self.items["label"][row].as_py()
        return label

    def search(self, vectors: Float[np.ndarray, "Q D"], k: int) -> Hits:
        """Return the k images nearest to each of the unit rows; fewer where there are fewer.

        Raises:
            InputError: `k` is below 1, or the vectors are not of this collection's space.
        """
        found = self.index.search(vectors, k)
        return Hits(found.ids, self.ids[found.ids], found.cosines)

    def check_model(self, fingerprint: str) -> None:
        """Refuse a model that has not embedded these images: its queries lie in another space.

        Raises:
            InputError: both fingerprints are named.
        """
        if self.model != fingerprint:
            raise InputError(
                f"the index was made with model {self.model[:12]}, this model is"
                f" {fingerprint[:12]}; embed and index the images with this model, or take the"
                " run that the index was made with"
            )


def save_collection(
    folder: Path, index: AnyIndex, items: "pa.Table", about: Mapping[str, Any]
) -> None:
    """Write a collection's folder, whole or not at all; arguments as of `Collection`."""
    index.save(folder, about, lambda place: write_items(place / ITEMS, [items]))


def mapped_shards(parts: Parts) -> Shards:
    """Return embeddings to search exactly, each part's rows left in its file.

    Raises:
        CorruptArtefact: a file is not what was written.
    """
    with refused_unless(parts.folder, "what embed wrote"):
        rows = [parts.vectors(number) for number in range(len(parts.sizes))]
        firsts = np.cumsum([0, *parts.sizes])
        each = zip(firsts.tolist(), rows, strict=False)
        shards = [Shard(first, Index.over(part)) for first, part in each if len(part)]
        return Shards(shards, sum(parts.sizes), rows[0].shape[1])
