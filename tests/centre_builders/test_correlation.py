"""Tests of centre_builders.correlation against alternating projections and Higham's example."""

import numpy as np
import pytest

from centre_builders.correlation import _positive_part, nearest_correlation


def dykstra(matrix: np.ndarray, floor: float) -> np.ndarray:
    """Higham's alternating projections, which share no step with the dual."""
    found, correction = matrix.copy(), np.zeros_like(matrix)
    for _ in range(1000):
        given = found - correction
        values, vectors = np.linalg.eigh(given)
        raised = (vectors * values.clip(floor)) @ vectors.T
        correction, found = raised - given, raised.copy()
        np.fill_diagonal(found, 1)
    return found


def test_example_of_higham() -> None:
    """The nearest to [[1, 1, 0], [1, 1, 1], [0, 1, 1]]."""
    matrix = np.array([[1.0, 1, 0], [1, 1, 1], [0, 1, 1]])
    wanted = [[1, 0.7607, 0.1573], [0.7607, 1, 0.7607], [0.1573, 0.7607, 1]]
    found = nearest_correlation(matrix, tolerance=1e-9)
    np.testing.assert_allclose(found, wanted, atol=5e-5)
    assert np.linalg.norm(found - matrix) == pytest.approx(0.5278, abs=5e-5)


@pytest.mark.parametrize("floor", [0.0, 0.05])
@pytest.mark.parametrize("width", [4, 13])
def test_equals_alternating_projections(width: int, floor: float) -> None:
    half = np.random.default_rng(width).uniform(-1, 1, (width, width))
    matrix = (half + half.T) / 2
    np.fill_diagonal(matrix, 1)
    assert np.linalg.eigvalsh(matrix)[0] < -0.1
    found = nearest_correlation(matrix, floor=floor, tolerance=1e-9)
    np.testing.assert_allclose(found, dykstra(matrix, floor), atol=1e-6)
    np.testing.assert_array_equal(np.diag(found), 1)
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.eigvalsh(found)[0] > floor - 1e-6


def test_keeps_what_is_one() -> None:
    matrix = np.array([[1.0, 0.4, 0.1], [0.4, 1, -0.3], [0.1, -0.3, 1]])
    np.testing.assert_allclose(nearest_correlation(matrix), matrix, atol=1e-12)


@pytest.mark.parametrize("num_negative", [0, 3, 50, 70])
def test_positive_part_has_the_positive_eigenvalues(num_negative: int) -> None:
    """More negative ones than are first looked for, and none."""
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((70, 70)))
    values = np.arange(1.0, 71) * np.where(np.arange(70) < num_negative, -1, 1)
    found = _positive_part((q * values) @ q.T)
    np.testing.assert_allclose(found, (q * values.clip(min=0)) @ q.T, atol=1e-10)
