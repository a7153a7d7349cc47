"""Tests of the geometry against brute force and against the figures of the definitions."""

import numpy as np
import pytest

from centre_builders.building import build_bank
from centre_builders.geometry import describe, nearest_pairs, safe_temperature
from centre_builders.protocol import CentreBuilder
from centre_builders.sentence import Sentence
from centre_builders.word2vec import Word2Vec

# The definitions' figures are for the words t, shirt and top; our policy knows "t-shirt".
FASHION = (
    "T shirt top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_AS_GIVEN = ("T-shirt/top", *FASHION[1:])
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.mark.parametrize(("num", "wanted"), [(10, 0.83), (100, 0.57), (1000, 0.42)])
def test_safe_temperature_of_orthogonal_centres(num: int, wanted: float) -> None:
    assert safe_temperature(np.eye(num)) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(
    ("builder", "names", "remove_mean", "mean", "largest", "safe"),
    [
        (Word2Vec(), FASHION, False, 0.46, 0.85, 0.138),
        (Word2Vec(), FASHION, True, -0.11, 0.41, 0.670),
        (Sentence(templates=("{}",)), FASHION_AS_GIVEN, False, 0.32, 0.70, 0.281),
        (Sentence(templates=("{}",)), FASHION_AS_GIVEN, True, -0.11, 0.40, 0.709),
        (Word2Vec(), DIGITS, False, 0.85, 0.99, 0.005),
        (Word2Vec(), DIGITS, True, 0.08, 0.79, 0.193),
        (Sentence(templates=("{}",)), DIGITS, False, 0.62, 0.82, 0.138),
        (Sentence(templates=("{}",)), DIGITS, True, -0.11, 0.44, 0.557),
    ],
)
def test_figures_of_real_names(
    builder: CentreBuilder, names: tuple[str, ...], remove_mean: bool,
    mean: float, largest: float, safe: float,
) -> None:  # fmt: skip
    shape = build_bank(builder, names, remove_mean=remove_mean).geometry()
    assert shape.mean_cosine == pytest.approx(mean, abs=0.006)
    assert shape.max_cosine == pytest.approx(largest, abs=0.006)
    assert shape.safe_temperature == pytest.approx(safe, rel=0.02, abs=6e-4)


def mean_shift_by_hand(centres: np.ndarray, start: int, temperature: float) -> np.ndarray:
    z = centres[start] + 1e-3 * np.random.default_rng(1).standard_normal(centres.shape[1])
    for _ in range(3000):
        weights = [np.exp(2 * float(z @ c) / temperature) for c in centres]
        z = sum(w * c for w, c in zip(weights, centres, strict=True))
        z = z / np.linalg.norm(z)
    return z


def test_safe_temperature_separates_safe_from_unsafe() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    safe = safe_temperature(rows)

    def all_hold(t: float) -> bool:
        ends = [mean_shift_by_hand(rows, i, t) for i in range(6)]
        return all(
            int(np.argmax(rows @ z)) == i and float(z @ rows[i]) >= 0.9 for i, z in enumerate(ends)
        )

    assert all_hold(0.97 * safe)
    assert not all_hold(1.03 * safe)


def test_coinciding_centres_have_no_safe_temperature() -> None:
    assert safe_temperature(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])) == 0


def test_cosines_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("centre_builders.geometry.BLOCK", 4)
    rows = np.random.default_rng(0).standard_normal((11, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = sorted(
        ((float(rows[i] @ rows[j]), i, j) for j in range(11) for i in range(j)), reverse=True
    )
    shape = describe(rows, [str(i) for i in range(11)])
    assert shape.mean_cosine == pytest.approx(np.mean([p[0] for p in pairs]))
    assert [(int(a), int(b)) for a, b, _ in shape.nearest_pairs] == [
        (i, j) for _, i, j in pairs[:5]
    ]
    assert [c for *_, c in nearest_pairs(rows, 3)] == pytest.approx([p[0] for p in pairs[:3]])


def test_one_centre_has_no_pair() -> None:
    shape = describe(np.array([[1.0, 0.0]]), ["a"])
    assert (shape.mean_cosine, shape.max_cosine, shape.nearest_pairs) == (0.0, -1.0, ())
