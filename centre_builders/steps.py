"""The steps of conditioning; `centre_builders.conditioning` says what a step is.

Dimensions: K vectors, D raw width, d width after a step.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from centre_builders.conditioning import Fitted
from centre_builders.errors import InputError
from centre_builders.sphere import orthonormal

MANY = 10_000  # classes; a matrix of their pairs has 0.8 GB


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
        if len(vectors) > MANY:
            raise InputError(
                f"assign_to compares all pairs of up to {MANY} classes, got {len(vectors)}; set"
                " centres.assign_to=null"
            )
        _, order = linear_sum_assignment(self.references @ vectors.T, maximize=True)
        return Fitted("assign", vectors.shape[1], {"order": order.tolist()}, order=order)


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
