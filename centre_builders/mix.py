"""Centres mixed from other builders' centres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from centre_builders.errors import InputError
from centre_builders.protocol import CentreBuilder, RawCentres
from centre_builders.sphere import normalise


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Several builders' unit vectors, weighted and put side by side, or averaged.

    Side by side, each part times the root of its weight: the cosine of two classes is the
    weighted mean of their cosines in the parts (before the mean is removed).

    Args:
        builders: two at least.
        weights: one a builder, above 0; None weighs all alike. They are scaled to a sum of 1.
        how: "concatenate", or "average", which needs builders of one width and one space.
    """

    builders: Sequence[CentreBuilder]
    weights: Sequence[float] | None = None
    how: Literal["concatenate", "average"] = "concatenate"

    def __post_init__(self) -> None:
        """Refuse what cannot be mixed."""
        weights = self.weights
        if len(self.builders) < 2:
            raise InputError(f"mix has {len(self.builders)} builders; give two at least")
        if self.how not in ("concatenate", "average"):
            raise InputError(f"mix has how={self.how!r}; there are concatenate, average")
        if weights is not None and (len(weights) != len(self.builders) or min(weights) <= 0):
            raise InputError(
                f"mix has weights {list(weights)} for {len(self.builders)} builders; give each"
                " one above 0"
            )

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the mixed vectors.

        Raises:
            InputError: a builder refuses, or the widths differ where they must not.
        """
        raws = [b.build(names, seed=seed, descriptions=descriptions) for b in self.builders]
        parts = [normalise(np.asarray(raw.vectors, dtype=np.float64)) for raw in raws]
        weights = np.array(self.weights or [1.0] * len(parts))
        weights = weights / weights.sum()
        if self.how == "concatenate":
            mixed = np.hstack([np.sqrt(w) * part for w, part in zip(weights, parts, strict=True)])
        else:
            _check_widths(parts)
            mixed = np.einsum("p,pkd->kd", weights, np.stack(parts))
        resolved = zip(*(raw.texts for raw in raws), strict=True)
        return RawCentres(
            mixed,
            tuple(" | ".join(dict.fromkeys(texts)) for texts in resolved),
            {"parts": [dict(raw.source) for raw in raws], "weights": weights.tolist()},
            shares_mean=any(raw.shares_mean for raw in raws),
            independent=all(raw.independent for raw in raws),
        )


def _check_widths(parts: Sequence[np.ndarray]) -> None:
    widths = [part.shape[1] for part in parts]
    if len(set(widths)) > 1:
        raise InputError(
            f"an average needs parts of one width, these have {', '.join(map(str, widths))};"
            " take how=concatenate"
        )
