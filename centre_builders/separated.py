"""Separated centres: the largest cosine of two of them is as small as can be found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.cosine_bounds import cosine_bound
from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.sphere import largest_cosine
from centre_builders.spreading import (
    check_dimension,
    exact,
    random_isometry,
    spread,
)


@dataclass(frozen=True, kw_only=True)
class Separated:
    """Hyperspherical prototypes for any number of classes, in a random orientation.

    Up to twice as many classes as dimensions, and in the plane, the centres are the best there
    are, by closed form. Beyond, they are optimised; `source` says the largest cosine reached
    and a bound that none can be below. After HPN (Mettes et al. 2019, arXiv:1901.10514), with
    another objective: see `spreading.smooth_maximum`.

    Args:
        dimension: d, from 2 for more than two classes.
        steps: of the optimiser at each of its six sharpnesses, more being better and slower;
            None takes 50 for large problems (as 1,000 classes in 128 dimensions), 200 for others.
    """

    dimension: int = 64
    steps: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no number of steps."""
        if self.steps is not None and self.steps < 1:
            raise InputError(f"separated has steps={self.steps}; give 1 or more")

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the centres; `descriptions` are not used.

        Raises:
            InputError: there are too few dimensions for the centres to differ.
        """
        num, rng = len(names), np.random.default_rng(seed)
        check_dimension(num, self.dimension)
        closed = exact(num, self.dimension)
        if closed is not None:
            vectors = random_isometry(closed, self.dimension, rng)
        else:
            vectors = spread(num, np.empty((0, self.dimension)), steps=self.steps, rng=rng)
        bound, name = cosine_bound(num, self.dimension)
        source = {"largest_cosine": largest_cosine(vectors), "bound": bound, "bound_name": name}
        # A simplex of fewer classes keeps its angles in its own dimensions.
        least = max(1, min(num - 1, self.dimension))
        return RawCentres(vectors, tuple(names), source, min_dimension=least)

    def extend(
        self,
        vectors: Float[np.ndarray, "K d"],
        names: Sequence[str],
        new_names: Sequence[str],
        *,
        seed: int,
        source: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Return further centres, each as far from all others as can be found."""
        rng = np.random.default_rng([seed, len(names)])
        return spread(len(new_names), vectors.astype(np.float64), steps=self.steps, rng=rng)
