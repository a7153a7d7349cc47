"""Centres from pictures: class means of a few images' embeddings (imprinting)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.embedded import read_embedded
from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.sphere import normalise
from centre_builders.vocabulary import fold


@dataclass(frozen=True, kw_only=True)
class Prototypes:
    """The direction of the mean embedding of each class's images.

    For classes with pictures but no useful name (Qi et al. 2018, "imprinting",
    arXiv:1712.07136, section 3.1).

    Args:
        embeddings: a folder written by `semcentres embed`.
        shots: images a class, drawn by the seed; None takes all.
    """

    embeddings: str
    shots: int | None = None

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return one mean a name.

        Raises:
            InputError: the folder is damaged, a class has no (or too few) images, or they cancel.
        """
        means, source = self._means(names, seed)
        return RawCentres(means, tuple(names), source, independent=True)

    def extend(
        self,
        vectors: Float[np.ndarray, "K d"],
        names: Sequence[str],
        new_names: Sequence[str],
        *,
        seed: int,
        source: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Return the means of the new classes: the images lie in the centres' own space."""
        return self._means(new_names, seed)[0]

    def _means(
        self, names: Sequence[str], seed: int
    ) -> tuple[Float[np.ndarray, "K D"], dict[str, str]]:
        found = read_embedded(self.embeddings)
        rows_of: dict[str, list[int]] = {}
        for row, label in enumerate(found.items["label"].to_pylist()):
            if label is not None:
                rows_of.setdefault(fold(label), []).append(row)
        means = []
        for name in names:
            rows = np.array(rows_of.get(fold(name), []), dtype=np.int64)
            wanted = 1 if self.shots is None else self.shots
            if len(rows) < wanted:
                raise InputError(
                    f"{self.embeddings} has {len(rows)} images of {name!r}, {wanted} are needed;"
                    " embed more, or lower centres.builder.shots"
                )
            # By name, so that a class's draw does not depend on the other classes.
            rng = np.random.default_rng([seed, *fold(name).encode()])
            chosen = rng.permutation(rows)[: self.shots]
            means.append(found.vectors[chosen].astype(np.float64).mean(axis=0))
        return normalise(np.array(means)), {k: str(v) for k, v in found.about.items()}
