"""Tests of GMML by its equations, by scipy's matrix functions, by scikit-learn's conventions."""

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import check_estimator

from semcentres.metric_learning import (
    GMML,
    metric_root,
    naive_descent,
    naive_objective,
    objective,
    sample_pairs,
    scatter,
)


def positive(size: int, seed: int, spread: float = 1.0) -> np.ndarray:
    """A random positive definite matrix; its condition number grows with `spread`."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((size, size)))
    return (turn * np.exp(rng.uniform(-spread, spread, size))) @ turn.T


def learnt(similar: np.ndarray, dissimilar: np.ndarray, t: float = 0.5) -> np.ndarray:
    root = metric_root(similar, dissimilar, t)
    return root.T @ root


def noisy(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes told apart by one column of 5; another one is loud and says nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    rows = rng.standard_normal((num, 5)) * [0.3, 20, 1, 1, 1]
    rows[:, 0] += 2 * labels
    return rows, labels


# The second pair starts from S, the third from D, as the better conditioned one.
PAIRS = [
    (positive(4, 0), positive(4, 1)),
    (positive(6, 2, 0.5), positive(6, 3, 3.0)),
    (positive(6, 4, 3.0), positive(6, 5, 0.5)),
]
EVERY = pytest.mark.parametrize(("s", "d"), PAIRS)


@EVERY
def test_solves_its_equation(s: np.ndarray, d: np.ndarray) -> None:
    a = learnt(s, d)
    np.testing.assert_allclose(a @ s @ a, d, rtol=1e-9, atol=1e-10)


@EVERY
@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_equals_the_geodesic_formula(s: np.ndarray, d: np.ndarray, t: float) -> None:
    # X (X^{-1} Y)^t with X = S^{-1}, Y = D.
    x = np.linalg.inv(s)
    wanted = x @ fractional_matrix_power(s @ d, t)
    np.testing.assert_allclose(learnt(s, d, t), wanted, rtol=1e-8, atol=1e-9)
    half = fractional_matrix_power(x, 0.5)
    back = fractional_matrix_power(s, 0.5)
    symmetric = half @ fractional_matrix_power(back @ d @ back, t) @ half
    np.testing.assert_allclose(learnt(s, d, t), symmetric, rtol=1e-8, atol=1e-9)


@EVERY
def test_ends_of_the_geodesic(s: np.ndarray, d: np.ndarray) -> None:
    np.testing.assert_allclose(learnt(s, d, 0.0), np.linalg.inv(s), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(learnt(s, d, 1.0), d, rtol=1e-9, atol=1e-10)


def test_of_diagonal_matrices_is_the_mean_of_each_entry() -> None:
    s, d = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 2.0])
    wanted = np.diag(s**-0.7 * d**0.3)
    np.testing.assert_allclose(learnt(np.diag(s), np.diag(d), 0.3), wanted, atol=1e-14)


@EVERY
def test_is_the_minimum_of_its_objective(s: np.ndarray, d: np.ndarray) -> None:
    a = learnt(s, d)
    least = objective(a, s, d)
    assert least == pytest.approx(np.trace(a @ s) + np.trace(np.linalg.inv(a) @ d))
    # Both terms are equal there: h(u A) = u tr(A S) + tr(A^{-1} D) / u is least at u = 1.
    assert least == pytest.approx(2 * np.trace(a @ s))
    near = (positive(len(s), seed, 0.05) for seed in range(20))
    assert all(objective(b @ a @ b, s, d) > least for b in near)
    # What the seed's formula gives when its T is read as a transpose.
    assert objective(d, s, d) > least


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_scale_and_swap(t: float) -> None:
    s, d = PAIRS[1]
    np.testing.assert_allclose(
        learnt(4 * s, 9 * d, t), 4 ** (t - 1) * 9**t * learnt(s, d, t), rtol=1e-9, atol=1e-12
    )
    inverse = np.linalg.inv(learnt(s, d, t))
    np.testing.assert_allclose(inverse, learnt(d, s, 1 - t), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("spreads", "t"), [((14.0, 0.5), 1.0), ((0.5, 14.0), 0.0)])
def test_starts_from_the_better_conditioned_matrix(spreads: tuple[float, float], t: float) -> None:
    # At the end of the geodesic where that one stands, the other's rounding must not come in:
    # over these draws 8e-16 at most, against 1e-14 and 1e-13 from the other start.
    errors = []
    for seed in range(10):
        turns = [np.linalg.svd(positive(6, seed + 99 * k))[0] for k in range(2)]
        values = [np.exp(np.linspace(-spread, spread, 6)) for spread in spreads]
        s, d = (turn * value @ turn.T for turn, value in zip(turns, values, strict=True))
        wanted = d if t == 1 else np.linalg.inv(s)
        errors.append(np.linalg.norm(learnt(s, d, t) - wanted) / np.linalg.norm(wanted))
    assert max(errors) < 4e-15


def test_naive_objective_collapses_or_diverges() -> None:
    s, d = PAIRS[1]
    kept = {"rate": 0.1, "steps": 400}
    metric = positive(6, 9)
    wanted = pytest.approx(np.trace(metric @ s) - 0.3 * np.trace(metric @ d))
    assert naive_objective(metric, s, d, 0.3) == wanted
    # Without dissimilar pairs, or with too little weight on them, all images end at one point.
    assert not naive_descent(s, d, 0.0, **kept).any()
    weak = 0.5 * np.linalg.eigvalsh(s)[0] / np.linalg.eigvalsh(d)[-1]
    assert not naive_descent(s, d, weak, **kept).any()
    # With more, the metric grows without end, and the loss falls without end.
    grown = [naive_descent(s, d, 1.0, rate=0.1, steps=n) for n in (500, 1000, 2000)]
    norms = [np.linalg.norm(a, 2) for a in grown]
    assert norms[1] / norms[0] == pytest.approx(2, rel=0.02)
    assert norms[2] / norms[1] == pytest.approx(2, rel=0.02)
    losses = [naive_objective(a, s, d, 1.0) for a in grown]
    assert losses[2] < losses[1] < losses[0] < -100
    # All of it along the directions in which S - D is negative: a useless map.
    assert np.linalg.matrix_rank(grown[-1]) == (np.linalg.eigvalsh(s - d) < 0).sum() < 6
    # GMML's objective has one minimum, at a finite A of full rank, on the same matrices.
    assert np.linalg.matrix_rank(learnt(s, d)) == 6


def test_pairs_are_of_one_class_and_of_two_and_all_are_drawn() -> None:
    labels = np.array([2, 0, 1, 2, 0, 2, 3])
    similar, dissimilar = sample_pairs(labels, 5000, seed=0)
    wanted = {(i, j) for i in range(7) for j in range(7) if i != j and labels[i] == labels[j]}
    assert set(map(tuple, similar.tolist())) == wanted
    wanted = {(i, j) for i in range(7) for j in range(7) if labels[i] != labels[j]}
    assert set(map(tuple, dissimilar.tolist())) == wanted
    # Evenly: 5 rows have a partner, and the row 6 is alone in its class.
    assert np.bincount(similar[:, 0]) / 5000 == pytest.approx(
        [0.2, 0.2, 0, 0.2, 0.2, 0.2], abs=0.03
    )
    assert np.bincount(dissimilar[:, 0]) / 5000 == pytest.approx([1 / 7] * 7, abs=0.03)
    of_first = dissimilar[dissimilar[:, 0] == 0][:, 1]
    shares = [0, 0.25, 0.25, 0, 0.25, 0, 0.25]
    assert np.bincount(of_first) / len(of_first) == pytest.approx(shares, abs=0.07)


def test_scatter_is_a_sum_of_outer_products(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = noisy(20, 0)
    pairs, _ = sample_pairs(labels.astype(np.int64), 23, seed=1)
    wanted = sum(np.outer(rows[i] - rows[j], rows[i] - rows[j]) for i, j in pairs)
    np.testing.assert_allclose(scatter(rows, pairs), wanted)
    monkeypatch.setattr("semcentres.metric_learning.BLOCK", 4)
    np.testing.assert_allclose(scatter(rows, pairs), wanted)


def test_transform_makes_the_learnt_distance_euclidean() -> None:
    rows, labels = noisy(50, 0)
    model = GMML().fit(rows, labels)
    x, y = model.transform(rows[:2])
    difference = rows[0] - rows[1]
    assert ((x - y) ** 2).sum() == pytest.approx(difference @ model.metric_ @ difference)
    # The same by the equation, from pairs drawn as many as the default says.
    similar, dissimilar = sample_pairs(labels.astype(np.int64), 40 * 3 * 2, seed=0)
    s, d = (scatter(rows, p) + 1e-4 * np.eye(5) for p in (similar, dissimilar))
    np.testing.assert_allclose(model.metric_ @ s @ model.metric_, d, rtol=1e-8, atol=1e-8)


def test_rotation_of_the_data_rotates_the_metric() -> None:
    rows, labels = noisy(50, 0)
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))
    plain, turned = GMML().fit(rows, labels), GMML().fit(rows @ turn + 3.0, labels)
    np.testing.assert_allclose(turned.metric_, turn.T @ plain.metric_ @ turn, rtol=1e-7, atol=1e-9)
    assert plain.score(rows, labels) == turned.score(rows @ turn + 3.0, labels)


def test_score_is_5_nn_accuracy_and_a_small_t_mutes_the_loud_column() -> None:
    (rows, labels), (queries, wanted) = noisy(150, 0), noisy(400, 1)
    names = np.array(["bag", "coat", "dress"])
    model = GMML().fit(rows, names[labels])
    knn = KNeighborsClassifier(5).fit(model.transform(rows), labels)
    score, raw = model.score(queries, names[wanted]), KNeighborsClassifier(5).fit(rows, labels)
    assert score == pytest.approx((knn.predict(model.transform(queries)) == wanted).mean())
    muted = GMML(t=0.1).fit(rows, labels)
    assert raw.score(queries, wanted) + 0.2 < score
    assert muted.score(queries, wanted) > 0.97
    # At t = 1/2 a column that says nothing keeps its scale, as S and D agree in it.
    assert model.metric_[1, 1] == pytest.approx(1, rel=0.1)
    assert muted.metric_[1, 1] < 0.01 < muted.metric_[0, 0]
    assert model.classes_.tolist() == names.tolist()


def test_seed_and_number_of_constraints_count() -> None:
    rows, labels = noisy(50, 0)
    a, b, c = (GMML(seed=seed, num_constraints=30).fit(rows, labels) for seed in (0, 0, 1))
    assert (a.metric_ == b.metric_).all()
    assert (a.metric_ != c.metric_).any()
    assert clone(a).get_params() == a.get_params()
    assert (GMML(num_constraints=31).fit(rows, labels).metric_ != a.metric_).any()


def test_follows_scikit_learn() -> None:
    # This check sets options of any type; under the tests' type checker that raises.
    typed = {"check_do_not_raise_errors_in_init_or_set_params": "beartype is on in tests"}
    check_estimator(GMML(), expected_failed_checks=typed, on_skip=None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"t": 1.5}, r"t must be in \[0, 1\], got 1.5"),
        ({"t": -0.1}, r"t must be in \[0, 1\], got -0.1"),
        ({"regularisation": -1.0}, "regularisation must be at least 0, got -1.0"),
        ({"num_constraints": 0}, "num_constraints must be at least 1, got 0"),
    ],
)
def test_refuses_options(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GMML(**options).fit(*noisy(20, 0))


def test_refuses_rows_before_fit_and_fit_without_classes() -> None:
    with pytest.raises(NotFittedError, match="GMML instance is not fitted yet"):
        GMML().transform(np.eye(3))
    with pytest.raises(ValueError, match="GMML estimator requires y"):
        GMML().fit(np.eye(3), None)


def test_refuses_labels_without_pairs_and_singular_sums() -> None:
    rows = noisy(6, 0)[0]
    with pytest.raises(ValueError, match="two classes at least, got 1"):
        GMML().fit(rows, [1] * 6)
    with pytest.raises(ValueError, match="a class of two rows, got 6 classes of 1"):
        GMML().fit(rows, np.arange(6))
    with pytest.raises(ValueError, match="similar pairs must be positive definite, got .* raise"):
        GMML(regularisation=0.0).fit(rows[[0, 1, 2, 3]], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="dissimilar pairs must be positive definite"):
        metric_root(np.eye(2), np.diag([1.0, -1.0]))
