"""How well predicted labels agree with the true ones.

Dimensions: N images, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64

from centre_builders.errors import InputError

MAX_MATRIX = 2000  # classes; above, no K x K matrix is made


@dataclass(frozen=True)
class Classification:
    """Agreement of predictions with labels.

    Attributes:
        accuracy: share of images that are right, in [0, 1].
        per_class: the same of each class's images; nan for a class without images.
        confusion: images by true class (row) and predicted class (column); None above
            `MAX_MATRIX` classes.
    """

    accuracy: float
    per_class: Float64[np.ndarray, " K"]
    confusion: Int64[np.ndarray, "K K"] | None


def top_k_accuracy(
    ids: Int[np.ndarray, "N k"], labels: Int[np.ndarray, " N"], ranks: Sequence[int]
) -> dict[int, float]:
    """Return, for each rank, the share of images whose label is among its first so many.

    Args:
        ids: predicted labels, best first; where a rank is above k, k are looked at.
        labels: of the images, at least one.
        ranks: from 1.
    """
    hits = ids == labels[:, None]
    return {rank: float(hits[:, :rank].any(axis=1).mean()) for rank in ranks}


def classify(
    predicted: Int[np.ndarray, " _N"], labels: Int[np.ndarray, " _N"], *, num_classes: int
) -> Classification:
    """Return the agreement of N predictions with N labels, both in [0, K).

    Raises:
        InputError: there are no images, the lengths differ, or a label is out of range.
    """
    if len(predicted) != len(labels) or len(labels) == 0:
        raise InputError(f"got {len(predicted)} predictions for {len(labels)} labels")
    for name, values in (("predictions", predicted), ("labels", labels)):
        if values.min() < 0 or values.max() >= num_classes:
            raise InputError(
                f"{name} go from {values.min()} to {values.max()}, wanted 0 to {num_classes - 1}"
            )
    size = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    per_class = np.where(size > 0, right / np.maximum(size, 1), np.nan)
    confusion = None
    if num_classes <= MAX_MATRIX:
        cells = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
        confusion = cells.reshape(num_classes, num_classes)
    return Classification(float(right.sum() / size.sum()), per_class, confusion)
