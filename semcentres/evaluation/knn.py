"""The similarity-weighted k-nearest-neighbour classifier of Wu et al. 2018.

Dimensions: Q queries, N gallery images, C classes, k neighbours.
"""

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from centre_builders.errors import InputError

NUM_NEIGHBOURS = 20  # of the reports
MAX_VOTES = 2**24  # held at once


def knn_predict(
    ids: Int64[np.ndarray, "Q k"],
    cosines: Float[np.ndarray, "Q k"],
    gallery_labels: Int[np.ndarray, " N"],
    *,
    num_classes: int,
    temperature: float = 0.07,
    block: int = 4096,
) -> Int64[np.ndarray, " Q"]:
    r"""Return the class with the largest vote among each query's neighbours.

    With s_i the cosine of neighbour i, y_i its label and t the temperature:

        vote_c = sum_{i : y_i = c} exp(s_i / t)

    Wu et al. 2018 (arXiv:1805.01978), section 3.4, where k = 200; k = 20 is common for small sets.

    Args:
        ids: rows of the gallery.
        cosines: of the same neighbours, in [-1, 1].
        gallery_labels: class of each gallery row, in [0, C).
        num_classes: C.
        temperature: t, in units of cosine, above 0; for t to infinity every neighbour has one vote.
        block: queries whose votes are held at once, fewer where the classes are very many.

    Returns:
        Labels in [0, C); of equal votes the lowest label.

    Raises:
        InputError: there are no neighbours, or the temperature or a label is out of range.
    """
    if temperature <= 0:
        raise InputError(f"the kNN temperature must be positive, got {temperature}")
    if ids.shape[1] == 0:
        raise InputError("queries have no neighbours to vote; the gallery needs an image at least")
    if gallery_labels.min() < 0 or gallery_labels.max() >= num_classes:
        raise InputError(
            f"gallery labels go from {gallery_labels.min()} to {gallery_labels.max()},"
            f" wanted 0 to {num_classes - 1}"
        )
    predicted = np.empty(len(ids), np.int64)
    block = max(1, min(block, MAX_VOTES // num_classes))
    for start in range(0, len(ids), block):
        rows = slice(start, start + block)
        labels, weights = gallery_labels[ids[rows]], _weights(cosines[rows], temperature)
        predicted[rows] = _votes(labels, weights, num_classes).argmax(axis=1)
    return predicted


def _weights(cosines: Float[np.ndarray, "B k"], temperature: float) -> Float64[np.ndarray, "B k"]:
    # Divided by each query's largest weight, which changes no winner and never overflows.
    logits = cosines.astype(np.float64) / temperature
    weights: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights


def _votes(
    labels: Int[np.ndarray, "B k"], weights: Float64[np.ndarray, "B k"], num_classes: int
) -> Float64[np.ndarray, "B C"]:
    num_queries = len(labels)
    cell = np.arange(num_queries)[:, None] * num_classes + labels
    votes = np.bincount(cell.ravel(), weights.ravel(), minlength=num_queries * num_classes)
    return votes.reshape(num_queries, num_classes)
