"""Tests of the linear probe."""

import numpy as np
import pytest

from centre_builders.errors import InputError
from semcentres.evaluation.probe import probe_predict


def clouds(seed: int, shift: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in seven columns, apart in one column of small scale and one of large."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 2, 5], [40, 30, 20]))
    rows = rng.standard_normal((90, 7))
    rows[:, 0] += shift * (labels == 2)
    rows[:, 1] += shift * (labels == 5)
    return rows * [1e-3, 1e3, 1, 1, 1, 1, 1], labels


def test_finds_linear_classes_at_any_scale_of_columns() -> None:
    rows, labels = clouds(0, shift=8.0)
    queries, wanted = clouds(1, shift=8.0)
    assert (probe_predict(rows, labels, queries) == wanted).mean() > 0.97


def test_a_great_penalty_leaves_the_most_frequent_class() -> None:
    rows, labels = clouds(0)
    queries, _ = clouds(1)
    assert set(probe_predict(rows, labels, queries, penalty=1e6)) == {0}


def test_refuses_what_cannot_be_fitted() -> None:
    rows, labels = clouds(0)
    with pytest.raises(InputError, match="penalty must be positive, got 0"):
        probe_predict(rows, labels, rows, penalty=0.0)
    with pytest.raises(InputError, match="got 1 classes and 90 images"):
        probe_predict(rows, labels * 0, rows)
    with pytest.raises(InputError, match="got 90 classes and 90 images"):
        probe_predict(rows, np.arange(90), rows)
