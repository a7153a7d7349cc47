"""The two nearest classes of every image, while classes are added and removed.

Dimensions: N images, D embedding width, K classes of the trained bank.
"""

from typing import final

import numpy as np
from jaxtyping import Float, Int64

from centre_builders.bank import CentreBank
from centre_builders.changes import add, retire
from centre_builders.errors import InputError
from semcentres.index import nearest_centres
from semcentres.web.answers import Candidate, ClassInfo, Judged

MOST_ADDED = 256  # each makes every answer about the classes longer


@final
class Classes:
    """A bank, and where its classes are among some images; not for several threads at a time.

    An added class costs one product with all images; the others are not looked at again.

    Args:
        vectors: unit embeddings of the images.
        bank: the trained classes.
    """

    def __init__(self, vectors: Float[np.ndarray, "N D"], bank: CentreBank) -> None:
        self._vectors, self._trained = vectors, bank
        self._near = nearest_centres(vectors, bank.vectors, 2)
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
        rows = np.arange(len(self._trained.names), len(bank.names))
        ids = np.hstack([self._near.ids, np.broadcast_to(rows, (len(self._vectors), len(rows)))])
        cosines = np.hstack([self._near.cosines, self._vectors @ new.T])
        # Stable: where a new centre is as near as an old one, the image stays.
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :2]
        self._ids = np.take_along_axis(ids, order, axis=1)
        self._cosines = np.take_along_axis(cosines, order, axis=1)
        self._counts = np.bincount(self._ids[:, 0], minlength=len(bank.names))
