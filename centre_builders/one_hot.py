"""One-hot centres: the axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.errors import InputError
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

    def extend(
        self,
        vectors: Float[np.ndarray, "K d"],
        names: Sequence[str],
        new_names: Sequence[str],
        *,
        seed: int,
        source: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Return the axes that no centre uses, in their order.

        Raises:
            InputError: there are too few of them.
        """
        free = np.flatnonzero(~vectors.any(axis=0))
        if len(free) < len(new_names):
            raise InputError(
                f"{len(new_names)} more one-hot classes need as many free axes, the bank has"
                f" {len(free)} of {vectors.shape[1]}; build it anew with centres.dimension="
                f"{len(names) + len(new_names)} or more"
            )
        return np.asarray(np.eye(vectors.shape[1])[free[: len(new_names)]])
