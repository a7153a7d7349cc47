"""How small the largest cosine of K unit vectors in d dimensions can be at best."""

import math

from scipy.special import binom, eval_jacobi, roots_jacobi


def cosine_bound(num: int, dimension: int) -> tuple[float, str]:
    """Return a number that the largest cosine of K unit vectors cannot be below, and its name.

    Welch's bound is of the absolute value, so it does not hold here: opposite vectors are far
    apart. The simplex's, Rankin's and the polygon's are reached, Levenshtein's seldom.

    Args:
        num: K, at least 1.
        dimension: d, at least 1.
    """
    if num <= dimension + 1:
        return -1 / max(num - 1, 1), "simplex"
    if num <= 2 * dimension:
        return 0.0, "Rankin"
    if dimension == 1:
        return 1.0, "line"
    if dimension == 2:
        return math.cos(2 * math.pi / num), "polygon"
    return _levenshtein_bound(num, dimension), "Levenshtein"


def _levenshtein_bound(num: int, dimension: int) -> float:
    """Return the cosine s at which Levenshtein's upper bound on the size of a code is K.

    No code of largest cosine s has more than L(d, s) vectors, so one of K vectors has a
    largest cosine of at least the s with L(d, s) = K. L rises with s; its piece of order m is
    for sizes between those of Delsarte, Goethals and Seidel of orders m and m + 1. Levenshtein
    1992 (Acta Appl. Math. 29); in the form of Boyvalenkov et al. 2016 (arXiv:1503.07228).
    """
    order = 3
    while num > _smallest_design(order + 1, dimension):
        order += 1
    half, odd = divmod(order, 2)
    low = _largest_root(half, dimension, 1) if odd else _largest_root(half, dimension, 0)
    high = _largest_root(half + 1, dimension, 0) if odd else _largest_root(half, dimension, 1)
    for _ in range(60):
        middle = (low + high) / 2
        fits = _levenshtein(order, dimension, middle) < num
        low, high = (middle, high) if fits else (low, middle)
    return low


def _levenshtein(order: int, d: int, s: float) -> float:
    """Return the piece of this order of L(d, s)."""
    half, odd = divmod(order, 2)
    k = half + odd
    low, p, high = (_gegenbauer(j, d, s) for j in (k - 1, k, k + 1))
    if odd:
        inner = (2 * k + d - 3) / (d - 1) - (low - p) / ((1 - s) * p)
        return float(binom(k + d - 3, k - 1) * inner)
    inner = (2 * k + d - 1) / (d - 1) - (1 + s) * (p - high) / ((1 - s) * (p + high))
    return float(binom(k + d - 2, k) * inner)


def _gegenbauer(degree: int, d: int, s: float) -> float:
    """Return the zonal polynomial of d dimensions, 1 at s = 1."""
    a = (d - 3) / 2
    return float(eval_jacobi(degree, a, a, s) / eval_jacobi(degree, a, a, 1.0))


def _largest_root(degree: int, d: int, beta: int) -> float:
    """Return the largest zero of the Jacobi polynomial of (d - 1)/2, beta + (d - 3)/2."""
    return float(roots_jacobi(degree, (d - 1) / 2, beta + (d - 3) / 2)[0].max())


def _smallest_design(strength: int, d: int) -> float:
    """Return the least size that a spherical design of this strength can have."""
    half, odd = divmod(strength, 2)
    return float(binom(d + half - 1, d - 1) + binom(d + half - 1 - (not odd), d - 1))
