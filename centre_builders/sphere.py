"""Vectors on the unit sphere; sums are made in float64, block by block.

Dimensions: K vectors, D width.
"""

import numpy as np
from jaxtyping import Float

from centre_builders.errors import InputError

BLOCK = 2048


def normalise(vectors: Float[np.ndarray, "K D"]) -> Float[np.ndarray, "K D"]:
    """Return the rows scaled to length 1, in their own precision.

    Raises:
        InputError: a row is zero or not finite.
    """
    unit = np.empty(vectors.shape, dtype=vectors.dtype)
    for start in range(0, len(vectors), BLOCK):
        rows = np.asarray(vectors[start : start + BLOCK], dtype=np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        bad = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] < 1e-12)
        if bad.any():
            row = start + int(bad.argmax())
            raise InputError(f"row {row} has no direction: it is zero or not finite")
        unit[start : start + BLOCK] = rows / lengths
    return unit


def orthonormal(columns: Float[np.ndarray, "D n"]) -> Float[np.ndarray, "D n"]:
    """Return the orthonormal columns of a QR factorisation, R's diagonal made positive.

    Of normal draws, they are uniformly distributed over all such sets (Mezzadri 2007,
    arXiv:math-ph/0609050); without the signs they depend on LAPACK's convention.
    """
    q, r = np.linalg.qr(columns)
    return np.asarray(q * np.sign(np.diag(r)))


def largest_cosine(unit: Float[np.ndarray, "K D"]) -> float:
    """Return the largest cosine of two different rows, block by block; -1 for a single row."""
    largest = -1.0
    for start in range(0, len(unit), BLOCK):
        cosines = unit[start : start + BLOCK] @ unit[start:].T
        cosines[np.tril(np.ones(cosines.shape, dtype=bool))] = -np.inf
        largest = max(largest, float(cosines.max(initial=-1.0)))
    return largest
