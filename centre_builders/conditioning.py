"""From raw vectors to centres: remove the mean, change the dimension, project to the sphere.

Text vectors share a common direction, and with it the soft-min's safe temperature falls to
where it does not train; removing the mean cures it (no peer does this for text centres).

Dimensions: K vectors, D raw width, d asked width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.sphere import normalise


def condition(
    raw: RawCentres, names: Sequence[str], *, remove_mean: bool, dimension: int | None
) -> tuple[Float[np.ndarray, "K d"], list[dict[str, Any]]]:
    """Return unit centres, and the steps that led to them, to be stored in the bank.

    Args:
        raw: a builder's vectors.
        names: of the rows, for messages.
        remove_mean: whether to subtract the mean of the rows.
        dimension: d; None keeps the width.

    Raises:
        InputError: a vector is lost by a step, or `dimension` is too small.
    """
    vectors = np.asarray(raw.vectors, dtype=np.float64)
    steps: list[dict[str, Any]] = []
    if remove_mean:
        mean = vectors.mean(axis=0)
        vectors = vectors - mean
        steps.append({"step": "remove_mean", "mean": mean.tolist()})
    vectors = _unit(vectors, names, "the mean was removed" if remove_mean else "it was built")
    if dimension is not None and dimension != vectors.shape[1]:
        # Without their mean, K independent vectors span one dimension less.
        least = raw.min_dimension and raw.min_dimension - remove_mean
        _check_dimension(dimension, least, len(names))
        vectors, kept = change_dimension(vectors, dimension)
        vectors = _unit(vectors, names, f"the dimension was reduced to {dimension}")
        steps.append({"step": "change_dimension", "dimension": dimension, "energy_kept": kept})
    return vectors, steps


def change_dimension(
    vectors: Float[np.ndarray, "K D"], dimension: int
) -> tuple[Float[np.ndarray, "K d"], float]:
    """Return the vectors in d dimensions and the share of their squared length that is kept.

    More dimensions: zeros are appended, which moves no angle. Fewer: projection on the d leading
    right singular vectors, which keeps the Gram matrix best in the least-squares sense (Eckart
    and Young 1936), and exactly where the rank allows.
    """
    num, width = vectors.shape
    if dimension >= width:
        return np.pad(vectors, ((0, 0), (0, dimension - width))), 1.0
    _, _, axes = np.linalg.svd(vectors, full_matrices=False)
    # The sign of a singular vector is arbitrary; fix it so that builds repeat across LAPACKs.
    axes = axes[:dimension]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
    reduced = vectors @ axes.T
    reduced = np.pad(reduced, ((0, 0), (0, dimension - reduced.shape[1])))
    return reduced, float((reduced**2).sum() / (vectors**2).sum())


def _check_dimension(dimension: int, least: int | None, num: int) -> None:
    if dimension < 1:
        raise InputError(f"dimension must be at least 1, got {dimension}; set centres.dimension")
    if least is not None and dimension < least:
        raise InputError(
            f"one-hot centres of {num} classes need {least} dimensions, got {dimension};"
            f" set centres.dimension={least} or more, or take centres=random_orthogonal"
        )


def _unit(
    vectors: Float[np.ndarray, "K D"], names: Sequence[str], after: str
) -> Float[np.ndarray, "K D"]:
    lost = np.linalg.norm(vectors, axis=1) < 1e-9
    if lost.any():
        raise InputError(
            f"the vector of {names[int(lost.argmax())]!r} is zero after {after};"
            " set centres.remove_mean=false, more dimensions, or more classes"
        )
    return normalise(vectors)
