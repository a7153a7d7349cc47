"""Unit vectors far apart: the closed forms, and the optimiser where there is none.

Dimensions: K vectors, n of them movable, k fixed, d width.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.linalg import block_diag, helmert
from scipy.optimize import minimize
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

from centre_builders.errors import UsageError
from centre_builders.sphere import orthonormal

BLOCK = 1024
SHARPNESS = (5.0, 20.0, 100.0, 500.0, 2500.0, 12500.0)
MAX_STARTS = 10
WORK = 1_000_000  # n * K * d up to which a further random start costs little
LARGE = 10_000_000  # n * K * d above which few steps must do
MEMORY = 10  # past steps that L-BFGS keeps

Objective = Callable[[Float[np.ndarray, "n d"]], tuple[float, Float[np.ndarray, "n d"]]]


def simplex(num: int) -> Float[np.ndarray, "K D"]:
    """Return K unit rows in D = K - 1 dimensions, every two of cosine -1/(K - 1).

    sqrt(K / (K - 1)) times the axes, seen in an orthonormal basis of the complement of
    (1, ..., 1): Helmert's, which is triangular and made in O(K^2). The rows sum to 0. It is
    the simplex equiangular tight frame of Papyan et al. 2020 (arXiv:2008.08186).
    """
    if num == 1:
        return np.eye(1)
    return np.asarray(helmert(num).T * math.sqrt(num / (num - 1)))


def exact(num: int, dimension: int) -> Float[np.ndarray, "K D"] | None:
    """Return K unit rows whose largest cosine is least, None where no closed form is known.

    They have as many columns as they need, at most d. For K <= d + 1, one simplex. Up to K = 2 d,
    K - d simplices of nearly equal size in subspaces at right angles, of largest cosine 0
    (Rankin 1955, Proc. Glasgow Math. Assoc. 2); for K = 2 d that is the cross-polytope. In the
    plane, the regular polygon.
    """
    if dimension == 2 and num > 4:
        angles = 2 * math.pi * np.arange(num) / num
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if num > 2 * dimension:
        return None
    parts = np.array_split(np.arange(num), max(1, num - dimension))
    return np.asarray(block_diag(*(simplex(len(part)) for part in parts)))


def random_isometry(
    vectors: Float[np.ndarray, "K D"], dimension: int, rng: np.random.Generator
) -> Float[np.ndarray, "K d"]:
    """Return the rows in d >= D dimensions, uniformly rotated or reflected; no angle changes."""
    return np.asarray(vectors @ orthonormal(rng.standard_normal((dimension, vectors.shape[1]))).T)


def spread(
    num: int, fixed: Float[np.ndarray, "k d"], *, steps: int | None, rng: np.random.Generator
) -> Float[np.ndarray, "n d"]:
    """Return unit rows whose largest cosine, to one another and to fixed rows, is least.

    Minimises `smooth_maximum` at rising sharpness, each from the last one's result. It finds a
    local minimum; small problems are started up to ten times, and the best is kept.

    Args:
        num: how many rows to place, at least 1; 2 where none is fixed.
        fixed: unit rows that stay; there may be none.
        steps: of L-BFGS at each sharpness, at least 1; None takes 50 for large problems (as
            1,000 rows of 128), and 200 for others.
        rng: of the random starts.
    """
    dimension = fixed.shape[1]
    size = num * (num + len(fixed)) * dimension
    if steps is None:
        steps = 50 if size > LARGE else 200
    starts = range(max(1, min(MAX_STARTS, WORK // size)))
    with one_thread():
        found = [_spread_once(num, fixed, start, steps, rng) for start in starts]
    return min(found, key=lambda rows: largest_cosine_to(rows, fixed))


def _spread_once(
    num: int, fixed: Float[np.ndarray, "k d"], start: int, steps: int, rng: np.random.Generator
) -> Float[np.ndarray, "n d"]:
    rows = rng.standard_normal((num, fixed.shape[1]))
    # Blunt beginnings lead to good arrangements, but always to the same few.
    for sharpness in SHARPNESS[start // 2 % 3 :]:
        objective = partial(smooth_maximum, fixed=fixed, sharpness=sharpness)
        rows = minimise_on_sphere(objective, rows, steps)
    return rows


def one_thread() -> threadpool_limits:
    """Return a context in which BLAS has one thread.

    The last bits of a product depend on the number of threads, and so would centres that follow
    from hundreds. Threads also gain nothing here: 1,000 rows of 128 took 12.6 s with two, and
    7.5 s with one.
    """
    return threadpool_limits(1, user_api="blas")


def largest_cosine_to(unit: Float[np.ndarray, "n d"], fixed: Float[np.ndarray, "k d"]) -> float:
    """Return the largest cosine of a row to another one or to a fixed one."""
    # At this sharpness only the largest cosine is left.
    return smooth_maximum(unit, fixed=fixed, sharpness=1e12)[0]


def smooth_maximum(
    unit: Float[np.ndarray, "n d"], *, fixed: Float[np.ndarray, "k d"], sharpness: float
) -> tuple[float, Float[np.ndarray, "n d"]]:
    """Return a smooth stand-in for the largest cosine, and its gradient in the rows.

        f = log( sum over pairs of exp(s * cosine) ) / s

    over all pairs of two rows, and of a row and a fixed one. It is above the largest cosine by
    at most log(number of pairs) / s. HPN (Mettes et al. 2019, arXiv:1901.10514) descends the
    mean over rows of the largest cosine instead, which leaves single pairs close.

    Args:
        unit: movable unit rows.
        fixed: unit rows.
        sharpness: s, above 0.
    """
    others, num = np.concatenate([unit, fixed]), len(unit)
    tops, sums, pulls = np.empty(num), np.empty(num), np.empty_like(unit)
    for start in range(0, num, BLOCK):
        block = np.arange(start, min(start + BLOCK, num))
        weights = unit[block] @ others.T
        weights[block - start, block] = -np.inf
        tops[block] = weights.max(axis=1)
        weights -= tops[block, None]
        weights *= sharpness
        np.exp(weights, out=weights)
        # A pair of two movable rows is met from both ends.
        sums[block] = weights[:, :num].sum(axis=1) / 2 + weights[:, num:].sum(axis=1)
        pulls[block] = weights @ others
    total = logsumexp(sharpness * tops, b=sums)
    shares = np.exp(sharpness * tops - total)
    return float(total / sharpness), shares[:, None] * pulls


def minimise_on_sphere(
    objective: Objective, start: Float[np.ndarray, "n d"], steps: int
) -> Float[np.ndarray, "n d"]:
    """Return unit rows at which an objective of unit rows is least, near the start.

    L-BFGS over rows of any length, which the objective sees at length 1. To be called with
    `one_thread`: with more, waking them takes longer than the objective of 1,000 rows of 128.

    Args:
        objective: unit rows to value and gradient.
        start: rows, none zero.
        steps: at most so many iterations.
    """

    def value(flat: Float[np.ndarray, " N"]) -> tuple[float, Float[np.ndarray, " N"]]:
        rows = flat.reshape(start.shape)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / lengths
        found, gradient = objective(unit)
        along = np.einsum("nd,nd->n", gradient, unit)[:, None]
        return found, ((gradient - along * unit) / lengths).ravel()

    options = {"maxiter": steps, "maxcor": MEMORY, "ftol": 1e-14, "gtol": 1e-10}
    unit = start / np.linalg.norm(start, axis=1, keepdims=True)
    found = minimize(value, unit.ravel(), jac=True, method="L-BFGS-B", options=options)
    rows = found.x.reshape(start.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def check_dimension(num: int, dimension: int) -> None:
    """Refuse a dimension in which so many vectors cannot differ.

    Raises:
        UsageError: it is below 1, or 1 for more than two vectors.
    """
    if dimension < 1 or (dimension == 1 and num > 2):
        raise UsageError(
            f"dimension must be at least {1 if num <= 2 else 2} for {num} classes, got"
            f" {dimension}; set centres.dimension"
        )
