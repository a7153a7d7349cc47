"""Tests of centre_builders.wordnet against nltk's own synsets and relations."""

from itertools import combinations
from pathlib import Path

import pytest

from centre_builders import wordnet
from centre_builders.errors import InputError
from centre_builders.taxonomy import lcs_heights, wu_palmer_similarity
from centre_builders.wordnet import Sense, noun_senses, place_in_wordnet

pytestmark = pytest.mark.skipif(
    not Path(wordnet.DEBIAN).is_dir(), reason="needs Debian's wordnet-base"
)


def test_senses_most_frequent_first() -> None:
    found = noun_senses("Cardigan")
    assert [sense.key for sense in found] == ["cardigan.n.01", "cardigan.n.02"]
    assert "jacket" in found[0].definition
    assert "corgi" in found[1].definition
    dog = noun_senses("dog")
    assert dog[0] == Sense("dog.n.01", dog[0].definition, 42)
    counts = [sense.count for sense in dog]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("T-shirt/top", "jersey.n.03"),
        ("qqq/top", "top.n.01"),
        ("Polar Bear", "ice_bear.n.01"),
        ("polar_bears", "ice_bear.n.01"),
        ("ice-cream", "ice_cream.n.01"),
        ("Ankle boot", "boot.n.01"),
        ("mice", "mouse.n.01"),
    ],
)
def test_names_are_found_whole_or_by_their_last_word(name: str, key: str) -> None:
    assert noun_senses(name)[0].key == key


def test_what_is_no_noun_has_no_sense() -> None:
    assert noun_senses("qqqxzz") == []
    assert noun_senses("/ !") == []


def test_places_by_sense_and_says_what_it_guessed() -> None:
    names = ["cardigan", "Ankle boot", "Corgi"]
    placed = place_in_wordnet(names, senses={"Cardigan": "cardigan.n.02"})
    assert placed.texts == ("cardigan.n.02", "boot.n.01", "corgi.n.01")
    assert placed.source["by_last_word"] == {"Ankle boot": "boot"}
    assert placed.source["wordnet"] == "3.0"
    heights = lcs_heights(placed.taxonomy, placed.rows)
    assert heights[0, 2] < heights[0, 1]
    assert placed.taxonomy.parents.count(()) == 1


def test_depths_and_subsumers_are_those_of_nltk() -> None:
    names = ["dog", "cat", "goldfish", "boot", "sandal", "piano", "apple", "whale", "teapot"]
    placed = place_in_wordnet(names)
    reader = wordnet._reader(wordnet._folder(None))
    synsets = [reader.synset(key) for key in placed.texts]
    depths = [synset.max_depth() + 1 for synset in synsets]
    assert placed.taxonomy.depths[placed.rows].tolist() == depths
    palmer = wu_palmer_similarity(placed.taxonomy, placed.rows)
    for i, j in combinations(range(len(names)), 2):
        lcs = synsets[i].lowest_common_hypernyms(synsets[j])[0].max_depth() + 1
        assert palmer[i, j] == pytest.approx(2 * lcs / (depths[i] + depths[j]))


def test_heights_are_longest_ways_down() -> None:
    placed = place_in_wordnet(["shoe"])
    reader = wordnet._reader(wordnet._folder(None))

    def height(synset) -> int:  # noqa: ANN001
        return max((1 + height(s) for s in synset.hyponyms()), default=0)

    assert placed.taxonomy.heights[placed.rows[0]] == height(reader.synset("shoe.n.01")) > 1


@pytest.mark.parametrize(
    ("names", "senses", "fault"),
    [
        (["zebrra", "dog", "qqqxzz"], {}, r"'zebrra' \(near: .*zebra.*'qqqxzz'; correct"),
        (["boot", "ankle boot"], {}, "'boot' and 'ankle boot' are both boot.n.01"),
        (["dog"], {"dog": "dog.n.99"}, "'dog' the synset 'dog.n.99'.*it has dog.n.01"),
        (["dog"], {"dog": "run.v.01"}, "'run.v.01', which WordNet has not as a noun"),
        (["dog"], {"dog": "nonsense"}, "'nonsense', which WordNet has not as a noun"),
    ],
)
def test_refuses(names: list[str], senses: dict[str, str], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        place_in_wordnet(names, senses=senses)


def test_missing_files_come_with_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"holds no WordNet.*apt-get install.*builder\.tree"):
        noun_senses("dog", folder=str(tmp_path))
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="elsewhere holds no WordNet"):
        noun_senses("dog")
    (tmp_path / "data.noun").write_text("nothing")
    with pytest.raises(InputError, match="holds no whole WordNet.*reinstall"):
        noun_senses("dog", folder=str(tmp_path))
