"""From raw vectors to centres, in composable steps that a bank stores and applies to new names.

Text vectors share a common direction, and with it the soft-min's safe temperature falls to
where it does not train; removing the mean cures it (no peer does this for text centres).

A step is fitted once, on all rows. Fitted, it is an affine map, and every row is scaled to length
1 after it. So a class that is added later goes through the same maps while no old centre moves.

Dimensions: K vectors, D raw width, d width after a step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from centre_builders.errors import InputError
from centre_builders.sphere import normalise


@dataclass(frozen=True)
class Fitted:
    """A step as it was fitted: rows -> (rows - offset) @ matrix, then length 1.

    Args:
        step: its name.
        facts: what is to be known of it; JSON.
        offset: None is 0.
        matrix: None is the identity, cut or padded with zeros to `dimension`.
        dimension: d.
        order: for a step that reorders the rows it was fitted on; nothing for new ones.
        own_share: for a step that gives each row it was fitted on an axis; nothing for new ones.
    """

    step: str
    dimension: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    offset: Float[np.ndarray, " D"] | None = None
    matrix: Float[np.ndarray, "D d"] | None = None
    order: np.ndarray | None = None
    own_share: float = 0.0

    def apply_to_fitted(self, vectors: Float[np.ndarray, "K D"]) -> Float[np.ndarray, "K d"]:
        """Return what becomes of the rows that it was fitted on."""
        moved = self.apply(vectors)
        if self.own_share:
            own = np.arange(len(moved))
            moved *= np.sqrt(1 - self.own_share)
            moved[own, vectors.shape[1] + own] = np.sqrt(self.own_share)
        return moved if self.order is None else moved[self.order]

    def apply(self, vectors: Float[np.ndarray, "K D"]) -> Float[np.ndarray, "K d"]:
        """Return rows of any length."""
        moved = vectors if self.offset is None else vectors - self.offset
        if self.matrix is not None:
            return np.asarray(moved @ self.matrix)
        lift = self.dimension - moved.shape[1]
        return np.pad(moved, ((0, 0), (0, lift))) if lift else moved


@runtime_checkable
class Step(Protocol):
    """One step of conditioning."""

    def fit(self, vectors: Float[np.ndarray, "K D"]) -> Fitted:
        """Return the step fitted on unit (at first: raw) rows."""
        ...


def condition(
    vectors: Float[np.ndarray, "K D"], names: Sequence[str], steps: Sequence[Step]
) -> tuple[Float[np.ndarray, "K d"], tuple[Fitted, ...]]:
    """Return unit rows after all steps, and the fitted steps.

    Args:
        vectors: a builder's.
        names: of the rows, for messages.
        steps: to fit, in this order.

    Raises:
        InputError: a step does not fit, or takes all of a row.
    """
    fitted: list[Fitted] = []
    rows = vectors if not steps else np.asarray(vectors, dtype=np.float64)
    for step in steps:
        # The first step sees raw rows: the mean of the vectors, not that of their directions.
        fitted.append(step.fit(rows))
        rows = _unit(fitted[-1].apply_to_fitted(rows), names, fitted)
    return rows if steps else _unit(rows, names, ()), tuple(fitted)


def apply(
    vectors: Float[np.ndarray, "n D"], names: Sequence[str], fitted: Sequence[Fitted]
) -> Float[np.ndarray, "n d"]:
    """Return new names' unit rows after steps that were fitted before.

    Raises:
        InputError: the rows have another width than the steps, or a step takes all of a row.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    for place, step in enumerate(fitted):
        source = step.offset if step.offset is not None else step.matrix
        if source is not None and len(source) != rows.shape[1]:
            raise InputError(
                f"the vectors of {names[0]!r} have {rows.shape[1]} dimensions, the bank's"
                f" conditioning takes {len(source)}; use the vectors that the bank was built with"
            )
        rows = _unit(step.apply(rows), names, fitted[: place + 1])
    return rows if fitted else _unit(rows, names, ())


def _unit(
    vectors: Float[np.ndarray, "K D"], names: Sequence[str], done: Sequence[Fitted]
) -> Float[np.ndarray, "K D"]:
    lost = np.einsum("kd,kd->k", vectors, vectors, dtype=np.float64) < 1e-18
    if lost.any():
        after = done[-1].step if done else "building"
        raise InputError(
            f"the vector of {names[int(lost.argmax())]!r} is zero after {after};"
            " set centres.remove_mean=false, more dimensions, or more classes"
        )
    return normalise(vectors)
