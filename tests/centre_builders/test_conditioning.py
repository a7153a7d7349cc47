"""The steps of conditioning: what each does, by itself, and what it does to a class to come."""

from itertools import permutations

import numpy as np
import pytest

from centre_builders.building import build_bank
from centre_builders.conditioning import Step, apply, condition
from centre_builders.errors import InputError
from centre_builders.steps import (
    Assign,
    ChangeDimension,
    OwnAxes,
    RemoveDirections,
    RemoveMean,
    Whiten,
)
from centre_builders.word2vec import Word2Vec

RNG = np.random.default_rng(0)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_mean_is_removed_before_the_projection() -> None:
    rows = RNG.standard_normal((5, 4)) + 3
    centres, (step,) = condition(rows, "abcde", [RemoveMean()])
    np.testing.assert_allclose(centres, unit(rows - rows.mean(axis=0)))
    np.testing.assert_allclose(step.offset, rows.mean(axis=0))


def test_one_class_has_no_mean_to_remove() -> None:
    with pytest.raises(InputError, match=r"'cat' is zero after remove_mean"):
        build_bank(Word2Vec(), ["cat"], remove_mean=True)


def test_own_axes_scale_all_cosines_and_new_classes_have_none() -> None:
    rows, new = unit(RNG.standard_normal((5, 4))), unit(RNG.standard_normal((2, 4)))
    moved, fitted = condition(rows, "abcde", [OwnAxes(0.3), ChangeDimension(11)])
    assert moved.shape == (5, 11)
    np.testing.assert_allclose(moved @ moved.T, 0.7 * rows @ rows.T + 0.3 * np.eye(5), atol=1e-12)
    later = apply(new, "xy", fitted)
    np.testing.assert_allclose(later @ later.T, new @ new.T, atol=1e-12)
    np.testing.assert_allclose(later @ moved.T, np.sqrt(0.7) * new @ rows.T, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_own_axes_refuse_a_share_out_of_range(share: float) -> None:
    with pytest.raises(InputError, match=rf"own_axis={share} must be between 0 and 1"):
        condition(np.eye(3), "abc", [OwnAxes(share)])


@pytest.mark.parametrize("dimension", [4, 9])
def test_dimension_change_keeps_the_gram_where_the_rank_allows(dimension: int) -> None:
    rows = unit(RNG.standard_normal((6, 3)) @ RNG.standard_normal((3, 7)))
    moved, (step,) = condition(rows, "abcdef", [ChangeDimension(dimension)])
    assert moved.shape == (6, dimension)
    np.testing.assert_allclose(moved @ moved.T, rows @ rows.T, atol=1e-10)
    assert step.facts["energy_kept"] == pytest.approx(1)


def test_lossy_reduction_says_what_it_kept() -> None:
    step = ChangeDimension(2).fit(np.diag([3.0, 2.0, 1.0]))
    assert step.facts["energy_kept"] == pytest.approx(13 / 14)
    moved = step.apply(np.diag([3.0, 2.0, 1.0]))
    np.testing.assert_allclose(moved @ moved.T, np.diag([9.0, 4.0, 0.0]), atol=1e-12)


def test_classes_to_come_have_room() -> None:
    """Three rows span three of five dimensions; a fourth keeps part of what they do not have."""
    rows, new = unit(RNG.standard_normal((3, 8))), unit(RNG.standard_normal((1, 8)))
    step = ChangeDimension(5).fit(rows)
    assert step.matrix is not None
    np.testing.assert_allclose(step.matrix.T @ step.matrix, np.eye(5), atol=1e-12)
    np.testing.assert_allclose(step.apply(new) @ step.apply(rows).T, new @ rows.T, atol=1e-12)
    within = np.linalg.norm(np.linalg.qr(rows.T)[0].T @ new[0])
    assert np.linalg.norm(step.apply(new)) > within + 0.01


def test_removed_directions_are_those_of_largest_variance() -> None:
    """Against the covariance's eigenvectors, which the code does not compute."""
    rows = RNG.standard_normal((9, 5)) * [5, 3, 1, 1, 1]
    _, axes = np.linalg.eigh(rows.T @ rows)
    step = RemoveDirections(2).fit(rows)
    assert step.matrix is not None
    np.testing.assert_allclose(step.matrix @ axes[:, -2:], 0, atol=1e-12)
    np.testing.assert_allclose(step.matrix @ axes[:, :-2], axes[:, :-2], atol=1e-12)


@pytest.mark.parametrize("num", [0, 4])
def test_refuses_to_remove_no_or_all_directions(num: int) -> None:
    with pytest.raises(InputError, match=f"remove_directions={num} of 6 rows in 4 dimensions"):
        RemoveDirections(num).fit(RNG.standard_normal((6, 4)))


def test_whitening_evens_out_as_the_shrinkage_vanishes() -> None:
    rows = RNG.standard_normal((40, 3)) @ np.diag([4.0, 2.0, 1.0])
    white = Whiten(1e-9).fit(rows).apply(rows)
    variances = np.linalg.eigvalsh(white.T @ white)
    assert variances[-1] / variances[0] == pytest.approx(1, rel=1e-5)


def test_whitening_by_hand() -> None:
    rows = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    white = Whiten(0.25).fit(rows).apply(rows)
    # Variances 2 and 0.5; of the largest 1 and 0.25, plus the shrinkage.
    np.testing.assert_allclose(white[0], [2 / np.sqrt(1.25), 0], atol=1e-12)
    np.testing.assert_allclose(white[2], [0, 1 / np.sqrt(0.5)], atol=1e-12)
    with pytest.raises(InputError, match="whiten=0.0 must be above 0"):
        Whiten(0.0).fit(rows)


def test_assignment_is_the_best_of_all_orders() -> None:
    rows, references = unit(RNG.standard_normal((5, 3))), unit(RNG.standard_normal((5, 3)))
    centres, (step,) = condition(rows, "abcde", [Assign(references)])
    best = max(permutations(range(5)), key=lambda p: (rows[list(p)] * references).sum())
    np.testing.assert_allclose(centres, rows[list(best)])
    assert step.facts["order"] == list(best)
    with pytest.raises(InputError, match=r"\(5, 2\)"):
        Assign(references[:, :2]).fit(rows)


STEPS: dict[str, list[Step]] = {
    "mean": [RemoveMean()],
    "mean, directions, down": [RemoveMean(), RemoveDirections(1), ChangeDimension(3)],
    "mean, white, up": [RemoveMean(), Whiten(0.1), ChangeDimension(8)],
    "none": [],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_an_old_row_goes_the_same_way_again(steps: list[Step]) -> None:
    rows = RNG.standard_normal((7, 6)) + 1
    centres, fitted = condition(rows, "abcdefg", steps)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1)
    np.testing.assert_allclose(apply(rows[2:4], "cd", fitted), centres[2:4], atol=1e-12)


def test_a_new_row_of_another_width_is_refused() -> None:
    _, fitted = condition(RNG.standard_normal((7, 6)), "abcdefg", [RemoveMean()])
    with pytest.raises(InputError, match="'x' have 5 dimensions, the bank's conditioning takes 6"):
        apply(RNG.standard_normal((1, 5)), "x", fitted)
