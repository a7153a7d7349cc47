"""Every builder keeps one contract; each has its own oracle."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from centre_builders.building import build_bank
from centre_builders.errors import InputError
from centre_builders.one_hot import OneHot
from centre_builders.protocol import CentreBuilder
from centre_builders.random_orthogonal import RandomOrthogonal
from centre_builders.sentence import Sentence
from centre_builders.sphere import largest_cosine
from centre_builders.word2vec import Word2Vec

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BUILDERS = [
    OneHot(),
    RandomOrthogonal(dimension=16),
    RandomOrthogonal(dimension=4),
    Word2Vec(),
    Sentence(),
]


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: repr(b)[:40])
class TestContract:
    def test_is_a_builder_of_one_finite_row_a_name(self, builder: CentreBuilder) -> None:
        assert isinstance(builder, CentreBuilder)
        raw = builder.build(FASHION, seed=0)
        assert raw.vectors.shape[0] == len(raw.texts) == 10
        assert np.isfinite(raw.vectors).all()
        assert (np.linalg.norm(raw.vectors, axis=1) > 0.1).all()

    def test_equal_inputs_give_equal_banks(self, builder: CentreBuilder) -> None:
        first, again = (build_bank(builder, FASHION, seed=3) for _ in range(2))
        assert first.fingerprint == again.fingerprint

    def test_order_of_names_is_order_of_rows(self, builder: CentreBuilder) -> None:
        """For builders that read the names; the others give the same rows to any names."""
        there = builder.build(FASHION, seed=0)
        back = builder.build(FASHION[::-1], seed=0)
        wanted = there.vectors[::-1] if there.shares_mean else there.vectors
        np.testing.assert_allclose(back.vectors, wanted, atol=1e-5)


def test_one_hot_is_the_identity() -> None:
    bank = build_bank(OneHot(), ["a", "b", "c"], dimension=5)
    np.testing.assert_array_equal(bank.vectors, np.eye(3, 5, dtype=np.float32))


def test_one_hot_refuses_too_few_dimensions() -> None:
    with pytest.raises(
        InputError, match=r"3 classes need 3 dimensions, got 2.*centres.dimension=3"
    ):
        build_bank(OneHot(), ["a", "b", "c"], dimension=2)


def test_random_orthogonal_is_orthonormal_and_seeded() -> None:
    first, again, other = (
        RandomOrthogonal(dimension=12).build("abcdefg", seed=s).vectors for s in (0, 0, 1)
    )
    np.testing.assert_allclose(first @ first.T, np.eye(7), atol=1e-12)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_random_orthogonal_is_uniform() -> None:
    """The sign fix: without it, LAPACK's first coordinate would have one sign."""
    firsts = [RandomOrthogonal(dimension=3).build("ab", seed=s).vectors[0, 0] for s in range(200)]
    positive = sum(first > 0 for first in firsts)
    assert abs(positive - 100) < 4 * math.sqrt(50)


def test_more_classes_than_dimensions_are_spread_and_said() -> None:
    raw = RandomOrthogonal(dimension=4).build(FASHION, seed=0)
    np.testing.assert_allclose(np.linalg.norm(raw.vectors, axis=1), 1)
    rng = np.random.default_rng(0)
    single = rng.standard_normal((10, 4))
    single /= np.linalg.norm(single, axis=1, keepdims=True)
    assert largest_cosine(raw.vectors) < largest_cosine(single)
    assert "not orthogonal" in raw.source["spread"]


def test_largest_cosine_is_that_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("centre_builders.sphere.BLOCK", 4)
    rows = np.random.default_rng(0).standard_normal((11, 3))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = max(float(rows[i] @ rows[j]) for i in range(11) for j in range(i))
    assert largest_cosine(rows) == pytest.approx(wanted)


def test_word2vec_is_the_mean_of_the_words() -> None:
    from centre_builders.word_vectors import packaged_glove

    glove = packaged_glove({"ankle", "boot", "t-shirt", "top"}).rows
    raw = Word2Vec().build(["Ankle boot", "T-shirt/top"], seed=0)
    assert raw.texts == ("ankle boot", "t-shirt top")
    np.testing.assert_allclose(raw.vectors[0], (glove["ankle"] + glove["boot"]) / 2, rtol=1e-6)
    np.testing.assert_allclose(raw.vectors[1], (glove["t-shirt"] + glove["top"]) / 2, rtol=1e-6)


def test_word2vec_lists_all_unknown_names_with_remedies() -> None:
    with pytest.raises(InputError) as caught:
        Word2Vec().build(["cat", "zebrra", "qzxqzx"], seed=0)
    message = str(caught.value)
    for part in ("'zebrra'", "'qzxqzx'", "zebra", "centres=sentence"):
        assert part in message
    assert "'cat'" not in message


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Path]:
    """The same three vectors in every format."""
    vectors = KeyedVectors(2)
    vectors.add_vectors(["cat", "dog", "new_york"], np.array([[1, 2], [3, -4], [0.5, 6]], "f4"))
    paths = {name: tmp_path / f"v.{name}" for name in ("txt", "bin", "glove.txt")}
    vectors.save_word2vec_format(str(paths["txt"]), binary=False)
    vectors.save_word2vec_format(str(paths["bin"]), binary=True)
    lines = paths["txt"].read_text().splitlines(keepends=True)
    paths["glove.txt"].write_text("".join(lines[1:]))
    for name in ("txt", "bin", "glove.txt"):
        paths[f"{name}.gz"] = tmp_path / f"v.{name}.gz"
        paths[f"{name}.gz"].write_bytes(gzip.compress(paths[name].read_bytes()))
    return paths


@pytest.mark.parametrize("kind", ["txt", "txt.gz", "bin", "bin.gz", "glove.txt", "glove.txt.gz"])
def test_every_format_gives_the_same_vectors(written: dict[str, Path], kind: str) -> None:
    raw = Word2Vec(path=str(written[kind])).build(["Dog", "New York", "cat dog"], seed=0)
    np.testing.assert_allclose(raw.vectors, [[3, -4], [0.5, 6], [2, -1]])


@pytest.mark.parametrize("head", [b"2000000000 300\n", b"what\n", b"-1 3\n"])
def test_malformed_binary_is_refused(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(head + b"cat " + bytes(8))
    with pytest.raises(InputError, match=r"bad\.bin:1"):
        Word2Vec(path=str(path)).build(["cat"], seed=0)


def test_sentence_averages_its_templates() -> None:
    both = Sentence(templates=("{}", "a photo of a {}")).build(["cat", "dog"], seed=0).vectors
    one, other = (
        Sentence(templates=(t,)).build(["cat", "dog"], seed=0).vectors
        for t in ("{}", "a photo of a {}")
    )
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)


@pytest.mark.parametrize("template", ["a photo", "{} and {}"])
def test_sentence_refuses_templates(template: str) -> None:
    with pytest.raises(InputError, match="must hold one"):
        Sentence(templates=(template,)).build(["cat"], seed=0)


def test_sentence_names_the_missing_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=r"cannot be loaded.*centres\.builder\.model"):
        Sentence(model=str(tmp_path / "gone")).build(["cat"], seed=0)


@pytest.mark.parametrize("dimension", [0, -3])
def test_refuses_dimension(dimension: int) -> None:
    with pytest.raises(InputError, match=f"got {dimension}"):
        build_bank(Word2Vec(), ["cat", "dog"], dimension=dimension)
