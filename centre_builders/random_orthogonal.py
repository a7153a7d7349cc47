"""Random orthogonal centres, or the best spread of several draws where there is no room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.protocol import RawCentres
from centre_builders.sphere import largest_cosine, normalise, orthonormal

NUM_DRAWS = 10
MANY = 10_000  # classes; above, comparing all pairs of several draws would take minutes


@dataclass(frozen=True, kw_only=True)
class RandomOrthogonal:
    """Random directions that carry no meaning.

    Args:
        dimension: width. Up to `dimension` classes get orthogonal centres, uniformly
            distributed over all such sets; more classes get random unit vectors, of ten draws
            the one whose largest cosine is least (of one draw above 10,000 classes), and the
            provenance says so.
    """

    dimension: int = 64

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return random unit vectors, orthogonal where there is room."""
        num, rng = len(names), np.random.default_rng(seed)
        if num <= self.dimension:
            rows = orthonormal(rng.standard_normal((self.dimension, num))).T
            return RawCentres(rows, tuple(names))
        said = f"{num} classes in {self.dimension} dimensions: not orthogonal"
        if num > MANY:
            drawn = rng.standard_normal((num, self.dimension), dtype=np.float32)
            return RawCentres(normalise(drawn), tuple(names), {"spread": said})
        draws = (normalise(rng.standard_normal((num, self.dimension))) for _ in range(NUM_DRAWS))
        best = min(draws, key=largest_cosine)
        found = f"{said}, largest cosine {largest_cosine(best):.3f}"
        return RawCentres(best, tuple(names), {"spread": found})

    def extend(
        self,
        vectors: Float[np.ndarray, "K d"],
        names: Sequence[str],
        new_names: Sequence[str],
        *,
        seed: int,
        source: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Return random unit vectors, orthogonal to all others if there is room for all of them."""
        # By the new names: after a class was retired, their number may have been there before.
        rng = np.random.default_rng([seed, *"\n".join(new_names).encode()])
        drawn = rng.standard_normal((len(new_names), vectors.shape[1]))
        if len(names) + len(new_names) > vectors.shape[1]:
            return normalise(drawn)
        old, _ = np.linalg.qr(vectors.T.astype(np.float64))
        return orthonormal((drawn - (drawn @ old) @ old.T).T).T
