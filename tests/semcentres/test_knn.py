"""Tests of semcentres.evaluation.knn and classification."""

import math

import numpy as np
import pytest

from centre_builders.errors import InputError
from semcentres.evaluation.classification import classify
from semcentres.evaluation.knn import knn_predict


def by_hand(
    ids: np.ndarray, cosines: np.ndarray, labels: np.ndarray, num_classes: int, t: float
) -> list[int]:
    """Votes of one neighbour at a time, with plain floats."""
    answers = []
    for near, scores in zip(ids.tolist(), cosines.tolist(), strict=True):
        votes = [0.0] * num_classes
        for i, score in zip(near, scores, strict=True):
            votes[int(labels[i])] += math.exp(score / t)
        answers.append(votes.index(max(votes)))
    return answers


@pytest.mark.parametrize("t", [0.02, 0.07, 1.0])
@pytest.mark.parametrize("block", [1, 7, 4096])
def test_equals_formula(t: float, block: int) -> None:
    rng = np.random.default_rng(0)
    ids, cosines = rng.integers(0, 30, (50, 9)), rng.uniform(-1, 1, (50, 9)).astype(np.float32)
    labels = rng.integers(0, 5, 30)
    found = knn_predict(ids, cosines, labels, num_classes=6, temperature=t, block=block)
    assert found.tolist() == by_hand(ids, cosines, labels, 6, t)


def test_one_near_neighbour_outvotes_two_far_ones_when_cold() -> None:
    # e^{0.9/t} against 2 e^{0.8/t}: they are equal at t = 0.1 / log 2.
    ids, cosines = np.array([[0, 1, 2]]), np.array([[0.9, 0.8, 0.8]])
    labels, equal = np.array([1, 0, 0]), 0.1 / math.log(2)
    for t, winner in ((0.99 * equal, 1), (1.01 * equal, 0)):
        assert knn_predict(ids, cosines, labels, num_classes=2, temperature=t).tolist() == [winner]


def test_cold_votes_do_not_overflow() -> None:
    found = knn_predict(
        np.array([[0, 1]]),
        np.array([[1, -1]], np.float32),
        np.array([1, 0]),
        num_classes=2,
        temperature=1e-4,
    )
    assert found.tolist() == [1]


def test_equal_votes_go_to_the_lowest_label() -> None:
    ids, cosines = np.array([[0, 1]]), np.array([[0.5, 0.5]])
    assert knn_predict(ids, cosines, np.array([3, 2]), num_classes=4).tolist() == [2]


@pytest.mark.parametrize(
    ("labels", "k", "t", "fault"),
    [
        ([0, 1], 1, 0.0, "positive, got 0.0"),
        ([0, 1], 1, -0.1, "positive, got -0.1"),
        ([0, 2], 1, 0.07, "from 0 to 2, wanted 0 to 1"),
        ([-1, 1], 1, 0.07, "from -1 to 1, wanted 0 to 1"),
        ([0, 1], 0, 0.07, "no neighbours"),
    ],
)
def test_knn_refuses(labels: list[int], k: int, t: float, fault: str) -> None:
    ids, cosines = np.zeros((3, k), np.int64), np.zeros((3, k))
    with pytest.raises(InputError, match=fault):
        knn_predict(ids, cosines, np.array(labels), num_classes=2, temperature=t)


def test_classification_counts() -> None:
    labels, predicted = np.array([0, 0, 0, 2, 2, 3]), np.array([0, 2, 0, 2, 1, 0])
    found = classify(predicted, labels, num_classes=4)
    assert found.accuracy == pytest.approx(3 / 6)
    assert found.confusion.tolist() == [[2, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(found.per_class, [2 / 3, np.nan, 1 / 2, 0])


@pytest.mark.parametrize(
    ("predicted", "labels", "fault"),
    [
        ([0, 1], [0], "2 predictions for 1 labels"),
        ([], [], "0 predictions for 0 labels"),
        ([3], [0], "predictions go from 3 to 3, wanted 0 to 2"),
        ([0], [-1], "labels go from -1 to -1, wanted 0 to 2"),
    ],
)
def test_classification_refuses(predicted: list[int], labels: list[int], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        classify(np.array(predicted, np.int64), np.array(labels, np.int64), num_classes=3)
