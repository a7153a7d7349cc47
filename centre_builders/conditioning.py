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
from scipy.optimize import linear_sum_assignment

from centre_builders.errors import InputError
from centre_builders.sphere import normalise, orthonormal


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


@dataclass(frozen=True)
class RemoveMean:
    """Subtract the mean of the rows."""

    def fit(self, vectors: Float[np.ndarray, "K D"]) -> Fitted:
        """Return the fitted step."""
        return Fitted("remove_mean", vectors.shape[1], offset=vectors.mean(axis=0))


@dataclass(frozen=True)
class RemoveDirections:
    """Project out the directions along which the rows vary most.

    "All but the top" of Mu & Viswanath 2018 (arXiv:1702.01417), after the mean was removed.

    Args:
        num: how many; from 1.
    """

    num: int

    def fit(self, vectors: Float[np.ndarray, "K D"]) -> Fitted:
        """Return the fitted step."""
        if not 0 < self.num < min(vectors.shape):
            raise InputError(
                f"remove_directions={self.num} of {vectors.shape[0]} rows in {vectors.shape[1]}"
                f" dimensions; wanted 1 to {min(vectors.shape) - 1}"
            )
        top = principal_axes(vectors)[: self.num]
        matrix = np.eye(vectors.shape[1]) - top.T @ top
        return Fitted("remove_directions", len(matrix), {"num": self.num}, matrix=matrix)


@dataclass(frozen=True)
class Whiten:
    """Even out the variance along the principal directions.

    Each direction is divided by sqrt(variance + shrinkage * largest variance). Without shrinkage
    K <= D rows would become a regular simplex, in which no meaning is left.

    Args:
        shrinkage: above 0; the larger, the weaker the step.
    """

    shrinkage: float

    def fit(self, vectors: Float[np.ndarray, "K D"]) -> Fitted:
        """Return the fitted step."""
        if self.shrinkage <= 0:
            raise InputError(f"whiten={self.shrinkage} must be above 0; try 0.1")
        variances, axes = np.linalg.eigh(vectors.T @ vectors / len(vectors))
        scale = 1 / np.sqrt(variances.clip(0) / variances[-1] + self.shrinkage)
        matrix = (axes * scale) @ axes.T
        return Fitted("whiten", len(matrix), {"shrinkage": self.shrinkage}, matrix=matrix)


@dataclass(frozen=True)
class OwnAxes:
    """Give each class an axis of its own beside its meaning.

    The cosine of two classes becomes (1 - share) times what it was: near-synonyms can be told
    apart, and the order of the cosines stays. It is the sum of text centres and one-hot ones,
    except that a class that is added later has no axis of its own, only its meaning: images of
    trained classes are told apart by all dimensions, images of new ones by the meaning.

    Args:
        share: of a centre's squared length, in (0, 1).
    """

    share: float

    def fit(self, vectors: Float[np.ndarray, "K D"]) -> Fitted:
        """Return the fitted step."""
        if not 0 < self.share < 1:
            raise InputError(f"own_axis={self.share} must be between 0 and 1; try 0.5")
        width = vectors.shape[1] + len(vectors)
        return Fitted("own_axes", width, {"share": self.share}, own_share=self.share)


@dataclass(frozen=True)
class ChangeDimension:
    """Change the width: more dimensions are zeros, fewer are the leading principal ones.

    Zeros move no angle. The projection on the d leading right singular vectors keeps the Gram
    matrix best in the least-squares sense (Eckart and Young 1936), and exactly where the rank
    allows. Few rows span fewer dimensions than d; the others are drawn at random, at right angles
    to them, so that classes to come have room beside the old ones and are not squeezed among them.

    Args:
        dimension: d, at least 1.
    """

    dimension: int

    def fit(self, vectors: Float[np.ndarray, "K D"]) -> Fitted:
        """Return the fitted step."""
        if self.dimension >= vectors.shape[1]:
            return Fitted("change_dimension", self.dimension, {"energy_kept": 1.0})
        matrix = _completed(principal_axes(vectors), self.dimension).T
        kept = float(((vectors @ matrix) ** 2).sum() / (vectors**2).sum())
        return Fitted("change_dimension", self.dimension, {"energy_kept": kept}, matrix=matrix)


@dataclass(frozen=True)
class Assign:
    """Give each class the centre nearest to where its images already lie, each centre once.

    For centres without meaning: the order of the rows is the one that maximises the sum of
    cosines with the references (Hungarian matching; as DL2PA assigns prototypes to class means).

    Args:
        references: one row a class, in the centres' dimension, as of class means.
    """

    references: Float[np.ndarray, "K d"]

    def fit(self, vectors: Float[np.ndarray, "K d"]) -> Fitted:
        """Return the fitted step."""
        if self.references.shape != vectors.shape:
            raise InputError(
                f"the references to assign by have shape {self.references.shape}, the centres"
                f" {vectors.shape}; take class means of these classes in the same dimension"
            )
        _, order = linear_sum_assignment(self.references @ vectors.T, maximize=True)
        return Fitted("assign", vectors.shape[1], {"order": order.tolist()}, order=order)


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


def principal_axes(vectors: Float[np.ndarray, "K D"]) -> Float[np.ndarray, "r D"]:
    """Return the right singular vectors, largest first, as rows; r = min(K, D)."""
    _, _, axes = np.linalg.svd(vectors, full_matrices=False)
    # The sign of a singular vector is arbitrary; fix it so that builds repeat across LAPACKs.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    return np.asarray(axes * signs[:, None])


def _completed(axes: Float[np.ndarray, "r D"], dimension: int) -> Float[np.ndarray, "d D"]:
    """Return the first d axes, random ones at right angles where there are fewer."""
    num, width = axes.shape
    if dimension <= num:
        return axes[:dimension]
    drawn = np.random.default_rng(0).standard_normal((dimension - num, width))
    # Twice is enough (Giraud et al. 2005) for right angles to rounding.
    for _ in range(2):
        drawn -= (drawn @ axes.T) @ axes
    return np.vstack([axes, orthonormal(drawn.T).T])


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
