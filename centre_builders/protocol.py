"""What a builder of centres is.

Dimensions: K class names, n new ones, D width of the raw vectors, d width of the centres.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class RawCentres:
    """What a builder gives: vectors of any length and mean, and where they come from.

    Args:
        vectors: one row a name, none zero; float32 or float64.
        texts: what each name was resolved to, as the model saw it.
        source: model, file, licence, versions: what is needed to trust or repeat the vectors; JSON.
        shares_mean: whether the rows share a common direction that must be removed.
        independent: whether a row depends on its own name alone, so that a class can be added
            by building it alone.
        min_dimension: the least dimension in which the vectors mean what they should; None
            where they may be reduced.
    """

    vectors: Float[np.ndarray, "K D"]
    texts: tuple[str, ...]
    source: Mapping[str, Any] = field(default_factory=dict)
    shares_mean: bool = False
    independent: bool = False
    min_dimension: int | None = None


@runtime_checkable
class CentreBuilder(Protocol):
    """Names and a seed in, raw vectors out; equal inputs give equal outputs."""

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return one raw vector a name.

        Args:
            names: class names, each once.
            seed: of the draws.
            descriptions: for some names, a text to read in place of the name; only builders
                that read text use it.
        """
        ...


@runtime_checkable
class Extensible(Protocol):
    """A builder that can place further classes beside centres that must not move."""

    def extend(
        self,
        vectors: Float[np.ndarray, "K d"],
        names: Sequence[str],
        new_names: Sequence[str],
        *,
        seed: int,
        source: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Return unit centres of the new names in the space of the old centres.

        Args:
            vectors: unit centres that are there; they do not move.
            names: of their classes, as they were read: descriptions in place of names.
            new_names: names to place.
            seed: of the draws.
            source: what `build` wrote of its source; None where it is not known.

        Raises:
            InputError: there is no place for them.
        """
        ...
