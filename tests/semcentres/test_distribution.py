"""Tests of semcentres.evaluation.distribution."""

import math

import numpy as np
import pytest

from centre_builders.errors import InputError
from semcentres.evaluation.distribution import alignment, cluster_energy, uniformity


def draw(num: int, columns: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((num, columns))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def squared_distance(a: np.ndarray, b: np.ndarray) -> float:
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_alignment_equals_formula(alpha: float) -> None:
    first, other = draw(23, 5, 0), draw(23, 5, 1)
    pairs = zip(first, other, strict=True)
    wanted = sum(squared_distance(a, b) ** (alpha / 2) for a, b in pairs) / 23
    assert alignment(first, other, alpha) == pytest.approx(wanted, rel=1e-6)


def test_alignment_of_opposite_views_is_four() -> None:
    rows = draw(7, 3, 0)
    assert alignment(rows, rows) == 0
    assert alignment(rows, -rows) == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize("block", [1, 10, 23, 1000])
@pytest.mark.parametrize("t", [0.5, 2.0, 40.0])
def test_uniformity_equals_formula(t: float, block: int) -> None:
    rows = draw(23, 5, 2)
    kernels = [
        math.exp(-t * squared_distance(rows[i], rows[j])) for i in range(23) for j in range(i)
    ]
    wanted = math.log(sum(kernels) / len(kernels))
    assert uniformity(rows, t, block=block) == pytest.approx(wanted, abs=2e-5)


def test_uniformity_of_two_opposite_rows_and_of_equal_rows() -> None:
    assert uniformity(np.array([[1, 0], [-1, 0]], np.float32), 3.0) == pytest.approx(-12)
    assert uniformity(np.ones((9, 1), np.float32)) == pytest.approx(0, abs=1e-12)


def test_rotation_changes_neither() -> None:
    rows, others = draw(40, 6, 3), draw(40, 6, 4)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0].astype(np.float32)
    assert uniformity(rows @ turn) == pytest.approx(uniformity(rows), abs=1e-5)
    assert alignment(rows @ turn, others @ turn) == pytest.approx(alignment(rows, others), rel=1e-5)


def test_uniformity_refuses_a_single_row() -> None:
    with pytest.raises(InputError, match="at least two embeddings, got 1"):
        uniformity(draw(1, 3, 0))


def test_cluster_energy_equals_note_with_uneven_and_empty_clusters() -> None:
    rows, centres = draw(20, 4, 0), draw(5, 4, 1)
    assigned = np.repeat([0, 2, 4], [11, 1, 8])
    found = cluster_energy(rows, centres, assigned)
    wanted = [
        sum(squared_distance(z, centres[k]) for z in rows[assigned == k]) / (assigned == k).sum()
        for k in (0, 2, 4)
    ]
    np.testing.assert_allclose(found.per_cluster[[0, 2, 4]], wanted, rtol=1e-6)
    assert np.isnan(found.per_cluster[[1, 3]]).all()
    assert found.empty == [1, 3]
    assert found.sizes.tolist() == [11, 0, 1, 0, 8]
    assert found.total == pytest.approx(sum(wanted), rel=1e-6)
    assert found.class_mean == pytest.approx(sum(wanted) / 3, rel=1e-6)
    by_size = (11 * wanted[0] + wanted[1] + 8 * wanted[2]) / 20
    assert found.sample_mean == pytest.approx(by_size, rel=1e-6)


def test_cluster_energy_is_zero_at_the_centres_and_four_opposite() -> None:
    centres = draw(3, 8, 0)
    order = np.array([2, 0, 1, 1])
    assert cluster_energy(centres[order], centres, order).total == 0
    assert cluster_energy(-centres[order], centres, order).total == pytest.approx(12, rel=1e-6)


def test_cluster_energy_refuses_nothing() -> None:
    with pytest.raises(InputError, match="got none"):
        cluster_energy(np.empty((0, 3), np.float32), draw(2, 3, 0), np.empty(0, np.int64))
