"""Simplex centres: as far from one another as can be, all alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from centre_builders.protocol import RawCentres
from centre_builders.spreading import simplex


@dataclass(frozen=True, kw_only=True)
class Simplex:
    """The regular simplex: every two of K centres have cosine -1/(K - 1), and their sum is 0.

    It has K - 1 dimensions. A further class would need another simplex, so none can be added.
    """

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the simplex; neither `seed` nor `descriptions` is used."""
        vectors = simplex(len(names))
        return RawCentres(vectors, tuple(names), min_dimension=vectors.shape[1])
