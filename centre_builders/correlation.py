"""The correlation matrix nearest to a symmetric matrix.

Dimensions: K rows.
"""

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from centre_builders.errors import NumericError


def nearest_correlation(
    similarity: Float[np.ndarray, "K K"], *, floor: float = 0.0, tolerance: float = 1e-6
) -> Float[np.ndarray, "K K"]:
    r"""Return the nearest matrix with a diagonal of 1 and no eigenvalue below a floor.

        min 1/2 || X - S ||_F^2    with  diag X = 1,  X - floor I positive semidefinite

    The problem of Higham 2002 (IMA Journal of Numerical Analysis 22, 329), with a floor of 0.
    His alternating projections converge slowly; the dual has the same solution and takes about
    twenty eigendecompositions for 1,000 nouns of WordNet. With (.)+ the projection on the positive
    semidefinite matrices and W = S - floor I, it is smooth and without constraints (Malick 2004,
    doi:10.1137/S0895479802413856):

        min_y  1/2 || (W + Diag y)+ ||_F^2 - (1 - floor) sum y,    X = (W + Diag y)+ + floor I

    Args:
        similarity: S, symmetric.
        floor: least eigenvalue, in [0, 1).
        tolerance: of the diagonal, before rows and columns are scaled to a diagonal of exactly 1.

    Raises:
        NumericError: it did not converge.
    """
    width = len(similarity)
    shifted = np.asarray(similarity, dtype=np.float64) - floor * np.eye(width)

    def dual(y: Float[np.ndarray, " K"]) -> tuple[float, Float[np.ndarray, " K"]]:
        raised = _positive_part(shifted + np.diag(y))
        return 0.5 * float((raised**2).sum()) - (1 - floor) * y.sum(), np.diag(raised) - (1 - floor)

    # ftol is 0, because the value settles long before the diagonal does.
    stop = {"gtol": tolerance, "ftol": 0.0, "maxcor": 20, "maxiter": 1000}
    # One thread: two wait for each other at every small step, on a busy machine a hundred times
    # as long as they work; and the bits do not depend on their number.
    with threadpool_limits(1, user_api="blas"):
        result = minimize(dual, np.zeros(width), jac=True, method="L-BFGS-B", options=stop)
        found = _positive_part(shifted + np.diag(result.x)) + floor * np.eye(width)
    gap = float(np.abs(np.diag(found) - 1).max())
    if not gap < 100 * tolerance:
        raise NumericError(
            f"no nearest correlation matrix was found: the diagonal is {gap:.1e} from 1 after"
            f" {result.nit} steps; take another similarity, or a hierarchy without cross-links"
        )
    scale = 1 / np.sqrt(np.diag(found))
    found = scale[:, None] * scale * (found + found.T) / 2
    np.fill_diagonal(found, 1.0)
    return found


def _positive_part(matrix: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    """Return the nearest positive semidefinite matrix."""
    # The lowest eigenvalues only, twice as many until one is positive: few are negative, and all
    # of them take four times as long.
    num, width = 16, len(matrix)
    while True:
        num = min(2 * num, width)
        values, vectors = eigh(matrix, subset_by_index=(0, num - 1))
        if values[-1] > 0 or num == width:
            return np.asarray(matrix - (vectors * values.clip(max=0)) @ vectors.T)
