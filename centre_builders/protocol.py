"""What a builder of centres is.

Dimensions: K class names, D width of the raw vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class RawCentres:
    """What a builder gives: vectors of any length and mean, and where they come from.

    Args:
        vectors: one row a name, none zero.
        texts: what each name was resolved to, as the model saw it.
        source: model, file, licence, versions: what is needed to trust or repeat the vectors.
        shares_mean: whether the rows share a common direction that must be removed.
        min_dimension: the least dimension in which the vectors mean what they should; None
            where they may be reduced.
    """

    vectors: Float[np.ndarray, "K D"]
    texts: tuple[str, ...]
    source: Mapping[str, str] = field(default_factory=dict)
    shares_mean: bool = False
    min_dimension: int | None = None


@runtime_checkable
class CentreBuilder(Protocol):
    """Names and a seed in, raw vectors out; equal inputs give equal outputs."""

    def build(self, names: Sequence[str], *, seed: int) -> RawCentres:
        """Return one raw vector a name."""
        ...
