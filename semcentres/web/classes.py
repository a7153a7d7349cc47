"""The two nearest classes of every image, while classes are added and removed.

Dimensions: N images, D embedding width, K classes of the trained bank.
"""

from typing import final

import numpy as np
from jaxtyping import Float, Int64

from centre_builders.bank import CentreBank
from centre_builders.changes import add, retire
from centre_builders.errors import InputError
from semcentres.index import Index, nearest_centres
from semcentres.indexes import AnyIndex
from semcentres.neighbours import Neighbours
from semcentres.shards import Shards
from semcentres.web.answers import Candidate, ClassInfo, Judged

MOST_ADDED = 256  # each makes every answer about the classes longer


@final
class Classes:
    """A bank, and where its classes are among some images; not for several threads at a time.

    An added class costs one product with all images; the others are not looked at again. Of the
    images' embeddings a block is looked at at a time, and 48 bytes an image are kept.

    Args:
        index: of the images' embeddings.
        bank: the trained classes.
    """

    def __init__(self, index: AnyIndex | Shards, bank: CentreBank) -> None:
        self._index, self._trained = index, bank
        centres, shape = Index.build(bank.vectors), (len(index), min(2, len(bank.names)))
        self._near = Neighbours(np.empty(shape, np.int64), np.empty(shape, np.float32))
        for rows, vectors in index.blocks():
            found = centres.search(vectors, 2)
            self._near.ids[rows], self._near.cosines[rows] = found.ids, found.cosines
        self._change(bank)

    def add(self, name: str, description: str | None = None) -> None:
        """Add a class by its name.

        Args:
            name: a new one.
            description: what a text builder reads in its place.

        Raises:
            InputError: the class is there, the bank's builder cannot place it, or too many were
                added.
        """
        if len(self.bank.names) - len(self._trained.names) >= MOST_ADDED:
            raise InputError(
                f"{MOST_ADDED:,} classes were added, which is the most; remove one first"
            )
        told = {} if description is None else {name: description}
        self._change(add(self.bank, [name], descriptions=told))

    def remove(self, name: str) -> None:
        """Remove a class that was added.

        Raises:
            InputError: it was not.
        """
        if self.row(name) < len(self._trained.names):
            raise InputError(f"{name!r} was trained; only classes added here can be removed")
        self._change(retire(self.bank, [name]))

    def row(self, name: str) -> int:
        """Return the row of a class.

        Raises:
            InputError: there is no such class.
        """
        return self.bank.rows_of([name])[0]

    def info(self, row: int) -> ClassInfo:
        """Return how many images a class has."""
        added = row >= len(self._trained.names)
        name, there = self.bank.names[row], int(self._counts[row])
        return ClassInfo(name=name, added=added, num_images=there)

    def members(self, row: int) -> tuple[Int64[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Return the images of a class and their cosines to its centre, the nearest first."""
        there = np.flatnonzero(self._ids[:, 0] == row)
        cosines = self._cosines[there, 0]
        order = np.argsort(-cosines, kind="stable")
        return there[order], cosines[order]

    def nearest(self) -> Int64[np.ndarray, " N"]:
        """Return the row of each image's class."""
        return self._ids[:, 0]

    def judge(self, image: int) -> Judged:
        """Return an image's class, runner-up, and former class if it moved."""
        before, now = (int(ids[image, 0]) for ids in (self._near.ids, self._ids))
        was = self._trained.names[before] if before != now else None
        return self._judged(self._ids[image], self._cosines[image], was)

    def judge_vector(self, vector: Float[np.ndarray, " D"]) -> Judged:
        """Return the class and the runner-up of an image from elsewhere."""
        near = nearest_centres(vector[None], self.bank.vectors, 2)
        return self._judged(near.ids[0], near.cosines[0], None)

    def _judged(self, ids: np.ndarray, cosines: np.ndarray, was: str | None) -> Judged:
        first, *second = (
            Candidate(name=self.bank.names[i], cosine=float(c))
            for i, c in zip(ids, cosines, strict=True)
        )
        return Judged(predicted=first, runner_up=second[0] if second else None, was=was)

    def _change(self, bank: CentreBank) -> None:
        self.bank = bank
        new = bank.vectors[len(self._trained.names) :]
        added = np.arange(len(self._trained.names), len(bank.names))
        to_new = np.empty((len(self._index), len(new)), np.float32)
        for rows, vectors in self._index.blocks() if len(new) else ():
            to_new[rows] = vectors @ new.T
        ids = np.hstack([self._near.ids, np.broadcast_to(added, to_new.shape)])
        cosines = np.hstack([self._near.cosines, to_new])
        # Stable: where a new centre is as near as an old one, the image stays.
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :2]
        self._ids = np.take_along_axis(ids, order, axis=1)
        self._cosines = np.take_along_axis(cosines, order, axis=1)
        self._counts = np.bincount(self._ids[:, 0], minlength=len(bank.names))
