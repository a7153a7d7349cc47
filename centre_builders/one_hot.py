"""One-hot centres: the axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from centre_builders.protocol import RawCentres


@dataclass(frozen=True, kw_only=True)
class OneHot:
    """Each class has an axis of its own; every two centres have cosine 0."""

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the identity matrix; neither `seed` nor `descriptions` is used."""
        num = len(names)
        return RawCentres(np.eye(num), tuple(names), min_dimension=num)
