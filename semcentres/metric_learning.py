r"""Geometric-mean metric learning: a linear map in closed form, from pairs of equal or other label.

The squared distance (x - y)^T A (x - y) shall be small for similar pairs and large for dissimilar
ones. With S and D the sums of (x - y)(x - y)^T over either kind, GMML (Zadeh, Hosseini & Sra 2016,
arXiv:1607.05002) minimises tr(A S) + tr(A^{-1} D), and where that is least,

    A S A = D,        A = S^{-1} #_{1/2} D,        X #_t Y = X^{1/2} (X^{-1/2} Y X^{-1/2})^t X^{1/2}

Seed note 002 has an exponent T for t, which read as a transpose would make A = D. Its naive
objective, tr(A S) - lambda tr(A D), stands here as what not to use.

Dimensions: N images, D columns, P pairs, K classes.
"""

import numpy as np
from jaxtyping import Float64, Int64
from scipy.linalg import LinAlgError, cholesky, solve_triangular, svd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

Square = Float64[np.ndarray, "D D"]
Pairs = Int64[np.ndarray, "P 2"]

NEIGHBOURS = 5  # of the classifier by which a metric is scored
BLOCK = 1 << 16  # pairs whose differences are held at once


class GMML(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types.
    """A linear map after which Euclidean distance is the learnt one, as a scikit-learn transformer.

    Args:
        t: place on the geodesic from S^{-1} (0, which shrinks what varies in a class) to D (1), in
            [0, 1]; 0.5 minimises the objective, but leaves a column that tells no classes apart at
            its own scale. The authors choose t by cross-validation.
        regularisation: lambda, at least 0: S + lambda I and D + lambda I take the place of S and D.
            With 0, both must have full rank. It is in the squared units of the data.
        num_constraints: pairs of each kind, at least 1; None takes 40 K (K - 1).
        seed: of the sampling of pairs.

    Attributes:
        components_: L [D D], with A = L^T L.
        metric_: A.
        classes_: the classes met.
        neighbours_: the classifier that `score` asks, over the transformed training rows.
        n_features_in_: D.
    """

    def __init__(
        self,
        t: float = 0.5,
        regularisation: float = 1e-4,
        num_constraints: int | None = None,
        seed: int = 0,
    ) -> None:
        # No checks and no other names: scikit-learn clones and sets parameters as they are.
        self.t = t
        self.regularisation = regularisation
        self.num_constraints = num_constraints
        self.seed = seed

    def fit(self, X: object, y: object) -> "GMML":
        """Learn the map from rows [N D] and their classes [N].

        Raises:
            ValueError: an option is out of its range, there are no pairs, or a sum is singular.
        """
        rows, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, labels = np.unique(labels, return_inverse=True)
        num = self._num_constraints(len(self.classes_))
        similar, dissimilar = sample_pairs(labels.astype(np.int64), num, seed=self.seed)
        ridge = self.regularisation * np.eye(rows.shape[1])
        self.components_ = metric_root(
            scatter(rows, similar) + ridge, scatter(rows, dissimilar) + ridge, self.t
        )
        self.metric_ = self.components_.T @ self.components_
        self.neighbours_ = KNeighborsClassifier(min(NEIGHBOURS, len(rows)))
        self.neighbours_.fit(rows @ self.components_.T, self.classes_[labels])
        return self

    def transform(self, X: object) -> Float64[np.ndarray, "N D"]:
        """Return the rows mapped, X L^T."""
        check_is_fitted(self)
        mapped: np.ndarray = (
            validate_data(self, X, dtype=np.float64, reset=False) @ self.components_.T
        )
        return mapped

    def score(self, X: object, y: object) -> float:
        """Return the accuracy of the 5 nearest training rows' vote; a training row finds itself."""
        return float(self.neighbours_.score(self.transform(X), y))

    def _num_constraints(self, num_classes: int) -> int:
        if self.regularisation < 0:
            raise ValueError(f"regularisation must be at least 0, got {self.regularisation}")
        if self.num_constraints is None:
            return 40 * num_classes * (num_classes - 1)
        if self.num_constraints < 1:
            raise ValueError(f"num_constraints must be at least 1, got {self.num_constraints}")
        return self.num_constraints

    def __sklearn_tags__(self) -> object:
        """Tell scikit-learn that `fit` needs classes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def sample_pairs(labels: Int64[np.ndarray, " N"], num: int, *, seed: int) -> tuple[Pairs, Pairs]:
    """Return pairs of rows of one class, and pairs of rows of two, drawn with replacement.

    The first row is drawn evenly from all that have a partner, the second from its partners.

    Args:
        labels: class of each row, in [0, K), each class at least once.
        num: pairs of each kind.
        seed: of the draws.

    Raises:
        ValueError: there is one class alone, or no class has two rows.
    """
    order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
    if len(sizes) < 2:
        raise ValueError("dissimilar pairs need two classes at least, got 1 class")
    if sizes.max() < 2:
        raise ValueError(f"similar pairs need a class of two rows, got {len(labels)} classes of 1")
    draw = np.random.default_rng(seed)
    starts, of = np.cumsum(sizes) - sizes, labels[order]
    # Places in `order`, in which each class is one block.
    first = draw.choice(np.flatnonzero(sizes[of] > 1), num)
    size, start = sizes[of[first]], starts[of[first]]
    second = start + (first - start + draw.integers(1, size)) % size
    one = draw.integers(0, len(labels), num)
    size, start = sizes[of[one]], starts[of[one]]
    # Beyond the own class's block, and round the end.
    other = (start + size + draw.integers(0, len(labels) - size)) % len(labels)
    return order[np.stack([first, second], axis=1)], order[np.stack([one, other], axis=1)]


def scatter(rows: Float64[np.ndarray, "N D"], pairs: Pairs) -> Square:
    """Return the sum of (x - y)(x - y)^T over pairs of rows."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(pairs), BLOCK):
        block = pairs[start : start + BLOCK]
        differences = rows[block[:, 0]] - rows[block[:, 1]]
        total += differences.T @ differences
    return total


def metric_root(similar: Square, dissimilar: Square, t: float = 0.5) -> Square:
    r"""Return L with L^T L = S^{-1} #_t D, by Cholesky factors and one SVD.

    With S = C C^T, D = R^T R and R C = P diag(s) Q^T:

        L = diag(s^t) Q^T C^{-1}            from S^{-1} to D
        L = diag(s^{t-1}) P^T R             from D to S^{-1}, S^{-1} #_t D = D #_{1-t} S^{-1}

    Both are the same matrix but for rounding. As the authors' code does, this starts from the
    better conditioned of the two; that code takes the eigenvalues of (R C)^T (R C), whose small
    ones have lost half their digits.

    Args:
        similar: S, symmetric, positive definite.
        dissimilar: D, the same.
        t: place on the geodesic, in [0, 1].

    Raises:
        ValueError: `t` is out of its range, or a matrix is not positive definite.
    """
    if not 0 <= t <= 1:
        raise ValueError(f"t must be in [0, 1], got {t}")
    c = _cholesky("similar", similar).T
    r = _cholesky("dissimilar", dissimilar)
    p, s, q_t = svd(r @ c)
    root: np.ndarray
    if np.linalg.cond(similar) <= np.linalg.cond(dissimilar):
        root = s[:, None] ** t * solve_triangular(c, q_t.T, lower=True, trans="T").T
    else:
        root = s[:, None] ** (t - 1) * (p.T @ r)
    return root


def objective(metric: Square, similar: Square, dissimilar: Square) -> float:
    """Return tr(A S) + tr(A^{-1} D), which S^{-1} #_{1/2} D minimises."""
    return float(np.sum(metric * similar) + np.trace(np.linalg.solve(metric, dissimilar)))


def naive_objective(metric: Square, similar: Square, dissimilar: Square, weight: float) -> float:
    """Return tr(A S) - lambda tr(A D), seed note 002's first attempt; it has no useful minimum.

    It is linear in A: where S - lambda D is positive definite (lambda = 0, say) its least value is
    0 at A = 0, where all images are one point, and elsewhere it has none.

    Args:
        metric: A, symmetric, positive semidefinite.
        similar: S.
        dissimilar: D.
        weight: lambda, at least 0.
    """
    return float(np.sum(metric * (similar - weight * dissimilar)))


def naive_descent(
    similar: Square, dissimilar: Square, weight: float, *, rate: float, steps: int
) -> Square:
    """Return A after projected gradient steps on the naive objective from the identity.

    Args:
        similar: S.
        dissimilar: D.
        weight: lambda, at least 0.
        rate: length of a step, above 0.
        steps: at least 0.
    """
    slope = similar - weight * dissimilar
    metric: np.ndarray = np.eye(len(slope))
    for _ in range(steps):
        values, vectors = np.linalg.eigh(metric - rate * slope)
        # The nearest positive semidefinite matrix.
        metric = (vectors * values.clip(min=0)) @ vectors.T
    return metric


def _cholesky(name: str, matrix: Square) -> Square:
    """Return the upper factor U of a matrix U^T U."""
    try:
        factor: np.ndarray = cholesky(matrix)
    except LinAlgError as error:
        least = np.linalg.eigvalsh(matrix)[0]
        raise ValueError(
            f"the sum over {name} pairs must be positive definite, got the least eigenvalue"
            f" {least:.3g}; raise the regularisation"
        ) from error
    return factor
