"""Tests of free text as a direction among the centres."""

import numpy as np
import pytest

from centre_builders import OneHot, Word2Vec, add, build_bank, text_vector
from centre_builders.bank import CentreBank
from centre_builders.errors import InputError
from centre_builders.steps import OwnAxes

NAMES = ["cat", "dog", "horse", "ankle boot"]


@pytest.fixture(scope="module", params=["plain", "own axes and 7 columns"])
def bank(request: pytest.FixtureRequest) -> CentreBank:
    if request.param == "plain":
        return build_bank(Word2Vec(), NAMES)
    return build_bank(Word2Vec(), NAMES, steps=[OwnAxes(0.3)], dimension=7)


@pytest.mark.parametrize("text", ["zebra", "striped animal", "a wild horse with stripes"])
def test_is_where_add_would_put_it(bank: CentreBank, text: str) -> None:
    before = bank.vectors.copy()
    found = text_vector(bank, text)
    assert (found == add(bank, [text]).vectors[-1]).all()
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert (bank.vectors == before).all()
    assert bank.names == tuple(NAMES)


def test_without_its_own_words_is_not_what_the_builder_gives(bank: CentreBank) -> None:
    """The conditioning that was fitted on the names is applied: the mean is taken away."""
    raw = Word2Vec().build(["zebra"], seed=0).vectors[0]
    bare = (raw / np.linalg.norm(raw)).astype(np.float32)
    assert bare.shape != text_vector(bank, "zebra").shape or not np.allclose(
        bare, text_vector(bank, "zebra"), atol=0.05
    )


def test_class_name_is_its_centre_in_any_spelling(bank: CentreBank) -> None:
    for text in ("ankle boot", "Ankle_Boot", " ankle  boot"):
        assert (text_vector(bank, text) == bank.vectors[3]).all()


def test_means_what_it_says() -> None:
    cosines = build_bank(Word2Vec(), NAMES).vectors @ text_vector(
        build_bank(Word2Vec(), NAMES), "kitten"
    )
    assert int(cosines.argmax()) == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [(" ", "the text has an empty name"), ("xqzzy", "no word of 'xqzzy'"), ("a\x00b", "U\\+0000")],
)
def test_refuses(bank: CentreBank, text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        text_vector(bank, text)


def test_builder_that_reads_no_text_knows_its_classes_alone() -> None:
    bank = build_bank(OneHot(), NAMES)
    assert (text_vector(bank, "Dog") == bank.vectors[1]).all()
    with pytest.raises(InputError, match="'zebra' is no class, and OneHot reads no other text"):
        text_vector(bank, "zebra")
