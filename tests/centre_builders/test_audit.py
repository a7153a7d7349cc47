"""The audit of class names against small word vectors whose cosines are known."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from centre_builders import wordnet
from centre_builders.audit import Audit, audit
from centre_builders.building import build_bank
from centre_builders.class_names import ClassNames
from centre_builders.errors import InputError
from centre_builders.from_file import FromFile
from centre_builders.mix import Mix
from centre_builders.one_hot import OneHot
from centre_builders.protocol import RawCentres
from centre_builders.random_orthogonal import RandomOrthogonal
from centre_builders.sentence import Sentence
from centre_builders.steps import RemoveDirections
from centre_builders.vocabulary import Explains, near_spellings
from centre_builders.word2vec import Word2Vec
from centre_builders.wordnet import Sense

# Beside a mean of (10, 0, 0), "cat" and "cab" are 0.6 / 0.36 = cosine 0.96 apart in the last two.
VECTORS = {
    "cat": (10.0, 1.0, 0.0),
    "cab": (10.0, 0.96, 0.28),
    "dog": (10.0, -1.0, 0.3),
    "bear": (10.0, -0.96, -0.58),
    "polar": (10.0, 0.0, 0.9),
}


SENSES = {
    "cat": [Sense("cat.n.01", "a feline", 30), Sense("cat.n.02", "a gossip", 10)],
    "cab": [Sense("cab.n.01", "a taxi", 2), Sense("cab.n.02", "of a truck", 1)],
    "dog": [Sense("dog.n.01", "a canine", 0), Sense("dog.n.02", "a rascal", 0)],
    "bear": [Sense("bear.n.01", "an animal", 0)],
}


@pytest.fixture(autouse=True)
def _wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "noun_senses", lambda name: SENSES.get(name, []))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Word2Vec:
    path = tmp_path_factory.mktemp("vectors") / "small.txt"
    path.write_text("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in VECTORS.items()))
    return Word2Vec(path=str(path))


def found(audited: Audit) -> Counter[tuple[str, str, tuple[str, ...]]]:
    return Counter((f.severity.value, f.kind, f.names) for f in audited.findings)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def test_near_pairs_are_those_of_centres_without_their_mean(words: Word2Vec) -> None:
    names = ("cat", "dog", "cab", "bear")
    rows = [VECTORS[name] for name in names]
    mean = [sum(column) / 4 for column in zip(*rows, strict=True)]
    centred = [[x - m for x, m in zip(row, mean, strict=True)] for row in rows]
    wanted = cosine(centred[0], centred[2])
    assert cosine(centred[1], centred[3]) < 0.95 < wanted < cosine(list(rows[1]), list(rows[3]))
    audited = audit(ClassNames(names), words)
    near = [f for f in audited.findings if f.kind == "near centres"]
    assert [f.names for f in near] == [("cat", "cab")]
    assert near[0].message == f"'cat' and 'cab' are near, cosine {wanted:.3f}"
    assert "description" in near[0].remedy
    assert audited.safe
    above = audit(ClassNames(names), words, threshold=wanted + 1e-4)
    assert not any(f.kind == "near centres" for f in above.findings)
    kept = audit(ClassNames(names), words, remove_mean=False)
    assert sum(f.kind == "near centres" for f in kept.findings) == 6


def test_further_steps_and_dimension_are_the_banks(words: Word2Vec) -> None:
    names = ClassNames(("cat", "dog", "cab", "bear"))
    # One direction left of three: centres are +1 or -1 along it.
    left = audit(names, words, dimension=1)
    pairs = {f.names for f in left.findings if f.kind == "same centre"}
    assert pairs == {("cat", "cab"), ("dog", "bear")}
    removed = audit(names, words, steps=[RemoveDirections(1)])
    assert not any("cab" in f.names and f.kind == "near centres" for f in removed.findings)


def test_all_faults_are_collected_and_the_rest_is_audited(words: Word2Vec) -> None:
    names = ClassNames(
        ("cat", "bera", "Dog", "", "do\x1bg", "polar bjear", "dog", "cab", "beast", "??"),
        {"beast": "polar bear", "stray": "text"},
    )
    audited = audit(names, words)
    assert found(audited) == {
        ("fault", "bad name", ("",)): 1,
        ("fault", "bad name", ("do\x1bg",)): 1,
        ("fault", "bad name", ("stray",)): 1,
        ("fault", "same name", ("Dog", "dog")): 1,
        ("fault", "unknown name", ("bera",)): 1,
        ("fault", "unknown name", ("??",)): 1,
        ("fault", "same centre", ("Dog", "dog")): 1,
        ("warning", "unknown word", ("polar bjear",)): 1,
        ("warning", "near centres", ("cat", "cab")): 1,
        ("note", "homograph", ("dog",)): 1,
        ("note", "homograph", ("cab",)): 1,
    }
    severities = [finding.severity.value for finding in audited.findings]
    assert severities == sorted(severities, key=["fault", "warning", "note"].index)
    assert (audited.num_faults, audited.safe) == (7, False)
    read = {one.name: one.resolution for one in audited.classes}
    assert [one.name for one in audited.classes] == list(names.names)
    assert read["beast"].text == "polar bear"
    assert read["beast"].tokens == ("polar", "bear")
    assert (read["polar bjear"].tokens, read["polar bjear"].unknown) == (("polar",), ("bjear",))
    said = {finding.kind: finding.message for finding in audited.findings}
    assert "'polar bjear' is read without 'bjear', not in small.txt" in said["unknown word"]
    assert "near bear" in said["unknown word"]
    assert "one text to the builder (dog), cosine 1.000" in said["same centre"]
    assert "'Dog' (class 2) and 'dog' (class 6) are one name" in said["same name"]


def test_one_class_that_is_left_is_not_blamed(words: Word2Vec) -> None:
    """It has no centre without its mean, but only because the others were left out."""
    audited = audit(ClassNames(("cat", "bera", "bera")), words)
    assert found(audited) == {
        ("fault", "same name", ("bera", "bera")): 1,
        ("fault", "unknown name", ("bera",)): 1,
    }
    assert not audit(ClassNames(("cat",)), words).safe


def test_names_are_read_composed_as_a_bank_has_them(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("\u00e9t\u00e9 1 0 2\nemu 0 1 1\n")
    names = ("e\u0301te\u0301", "emu", "asp\u0301")
    audited = audit(ClassNames(names, {"asp\u0301": "emu"}), Word2Vec(path=str(path)))
    assert audited.classes[0].name == "\u00e9t\u00e9"
    tokens = [one.resolution.tokens for one in audited.classes]
    assert tokens == [("\u00e9t\u00e9",), ("emu",), ("emu",)]


def test_description_parts_one_text(words: Word2Vec) -> None:
    names = ("cat", "cat (2)", "dog")
    same = audit(ClassNames(names, {"cat (2)": "cat"}), words)
    assert found(same)["fault", "same centre", ("cat", "cat (2)")] == 1
    assert audit(ClassNames(names, {"cat (2)": "polar bear"}), words).safe


POOL = ["cat", "Cat", "cab", "dog", "bear", "polar bear", "bera", "", "e\u0301", "dog\u200b"]


@given(
    names=st.lists(st.sampled_from(POOL), min_size=1, max_size=5),
    text=st.booleans(),
    dimension=st.sampled_from([None, 2, 4]),
)
def test_safe_is_that_the_bank_can_be_built(
    words: Word2Vec, names: list[str], text: bool, dimension: int | None
) -> None:
    builder = words if text else OneHot()
    how = {"dimension": dimension, "remove_mean": text}
    try:
        build_bank(builder, names, **how)
        buildable = True
    except InputError:
        buildable = False
    assert audit(ClassNames(tuple(names)), builder, **how).safe is buildable


def test_order_of_names_is_order_of_classes_only(words: Word2Vec) -> None:
    names = ("cat", "bera", "dog", "polar bjear", "bear")
    one, other = (audit(ClassNames(n), words) for n in (names, names[::-1]))
    assert [c.resolution for c in one.classes] == [c.resolution for c in other.classes[::-1]]
    assert found(one) == found(other)


def test_geometric_builders_have_only_name_checks() -> None:
    names = ClassNames(("cab", "bera", "Cab"), places=("n:1", "n:2", "n:4"))
    audited = audit(names, RandomOrthogonal(dimension=5))
    assert found(audited) == {("fault", "same name", ("cab", "Cab")): 1}
    assert "'cab' (n:1) and 'Cab' (n:4)" in audited.findings[0].message
    assert [one.resolution.tokens for one in audited.classes] == [()] * 3
    assert all(not one.senses for one in audited.classes)


def test_refusal_of_a_builder_is_a_fault_with_its_remedy(tmp_path: Path, words: Word2Vec) -> None:
    few = audit(ClassNames(("a", "b", "c")), OneHot(), dimension=2)
    assert [f.kind for f in few.findings] == ["refusal"]
    assert few.findings[0].remedy.startswith("set centres.dimension=3 or more")
    (tmp_path / "v.csv").write_text("cat,1,0\ndog,0,1\n")
    lacking = audit(ClassNames(("cat", "emu", "asp")), FromFile(path=str(tmp_path / "v.csv")))
    (fault,) = lacking.findings
    assert "no vector for 'emu', 'asp'" in fault.message
    assert fault.remedy == "add it, or rename the class"
    gone = audit(ClassNames(("cat",)), Word2Vec(path=str(tmp_path / "none.txt")))
    assert [f.remedy for f in gone.findings] == ["set centres.builder.path to word vectors"]
    assert [one.name for one in gone.classes] == ["cat"]


def test_no_names_is_a_fault() -> None:
    assert found(audit(ClassNames(()), OneHot())) == {("fault", "bad name", ()): 1}


def test_homographs_are_names_without_an_obvious_sense(words: Word2Vec) -> None:
    audited = audit(ClassNames(("cat", "cab", "dog", "bear"), {"dog": "polar"}), words)
    notes = [f for f in audited.findings if f.kind == "homograph"]
    # 30 of 40 uses make "cat" obvious; "bear" has one sense; "dog" is described.
    assert [f.names for f in notes] == [("cab",)]
    assert (
        "2 noun senses, none obvious (cab.n.01: a taxi; cab.n.02: of a truck)" in notes[0].message
    )
    senses = {one.name: one.senses for one in audited.classes}
    assert senses["cat"][1] == {"key": "cat.n.02", "definition": "a gossip", "count": 10}
    assert senses["dog"] == ()


@pytest.mark.parametrize(
    ("error", "said", "remedy"),
    [
        (InputError("here are no files; apt-get install wordnet-base"), "no files", "apt-get"),
        (ModuleNotFoundError("No module named 'nltk'"), "named 'nltk'", "pip install nltk"),
    ],
)
def test_missing_wordnet_is_a_note(
    words: Word2Vec, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, remedy: str
) -> None:
    def noun_senses(name: str) -> list[Sense]:
        raise error

    monkeypatch.setattr(wordnet, "noun_senses", noun_senses)
    audited = audit(ClassNames(("cat", "dog")), words)
    (note,) = audited.findings
    assert note.message.startswith("WordNet not found: homographs not checked")
    assert said in note.message
    assert note.remedy.startswith(remedy)
    assert audited.safe


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01, float("nan")])
def test_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match=f"threshold={threshold} .* take 0.95"):
        audit(ClassNames(("a", "b")), OneHot(), threshold=threshold)


def test_json_holds_all_of_it(words: Word2Vec) -> None:
    audited = audit(ClassNames(("cab", "dog", "bjear", "\ud800")), words)
    read = json.loads(json.dumps(audited.to_json()))
    assert (read["safe"], read["num_faults"], read["threshold"]) == (False, 2, 0.95)
    assert read["classes"][0]["senses"][0]["definition"] == "a taxi"
    assert read["classes"][2]["resolution"]["near"]["bjear"] == ["bear"]
    assert Counter(f["severity"] for f in read["findings"]) == {"fault": 2, "note": 2}


def test_explained_words_are_those_that_are_built_from(words: Word2Vec) -> None:
    names = ["polar bear", "Cat/dog", "sea-Bear", "emu"]
    told = words.explain(names, {"emu": "cab"})
    built = words.build(names, seed=0, descriptions={"emu": "cab"})
    assert tuple(" ".join(one.tokens) for one in told) == built.texts
    assert [one.unknown for one in told] == [(), (), ("sea",), ()]
    assert isinstance(words, Explains)
    assert not isinstance(OneHot(), Explains)


def test_spellings_are_those_of_difflib_and_words_run_together() -> None:
    vocabulary = ["golf", "cart", "goal", "zebra", "zebras", "bear", "quagga", "gol", "fcart", "a"]
    words = ["golfcart", "ZEBRS", "xylophone", "baer", "aquagga", "ZEBRS"]
    near = near_spellings(words, vocabulary)
    assert list(near) == words[:5]
    assert near["golfcart"][0] == "golf cart"
    assert near["ZEBRS"] == tuple(get_close_matches("zebrs", vocabulary, n=3))
    assert set(near["ZEBRS"]) == {"zebra", "zebras"}
    assert near["baer"] == ("bear",)
    assert near["aquagga"] == ("quagga",)
    assert near["xylophone"] == ()


def test_spellings_are_looked_for_a_bounded_number() -> None:
    words = [f"w{i}" for i in range(300)]
    assert list(near_spellings(words, ["w"])) == words[:200]


def test_sentence_tells_tokens_unknown_signs_and_cut_texts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEMCENTRES_CACHE", str(tmp_path))
    names = ("Cardigan", "cardigan (2)", "snow \u2603", "\u2603", "essay")
    # The template adds 4 tokens, the model's marks 2; it reads 256.
    described = {"cardigan (2)": "cardigan", "essay": "word " * 253}
    builder = Sentence(templates=["a picture of one {}"])
    audited = audit(ClassNames(names, described), builder)
    assert found(audited) == {
        ("fault", "unknown name", ("\u2603",)): 1,
        ("fault", "same centre", ("Cardigan", "cardigan (2)")): 1,
        ("warning", "unknown word", ("snow \u2603",)): 1,
        ("warning", "cut text", ("essay",)): 1,
    }
    read = [one.resolution for one in audited.classes]
    assert read[0].tokens == read[1].tokens == ("card", "##igan")
    assert (read[2].tokens, read[2].unknown) == (("snow",), ("\u2603",))
    assert [one.cut for one in read] == [0, 0, 0, 0, 3]
    apart = {"Cardigan": "a dog, the Cardigan Welsh corgi", "cardigan (2)": "a knitted jacket"}
    assert audit(ClassNames(names[:2], apart), builder).safe


def test_builders_within_a_builder_are_asked(words: Word2Vec, tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("cat 1 0\nbera 0 1\ndog 1 1\n")
    mixed = Mix(builders=[OneHot(), words, Word2Vec(path=str(path))])
    names = ("cat", "bera", "cat dog", "polar dog", "cat (2)", "emu")
    audited = audit(ClassNames(names, {"cat (2)": "Cat"}), mixed)
    assert found(audited) == {
        ("fault", "unknown name", ("bera",)): 1,
        ("fault", "unknown name", ("emu",)): 2,
        ("warning", "unknown word", ("polar dog",)): 1,
        ("warning", "same text", ("cat", "cat (2)")): 1,
    }
    read = [one.resolution for one in audited.classes]
    assert read[3].tokens == ("polar", "dog", "dog")
    assert read[3].unknown == ("polar",)
    assert read[5].unknown == ("emu",)
    assert read[3].vocabulary == "small.txt, other.txt"
    assert audited.classes[0].senses


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Rows that all point nearly the same way."""

    def build(
        self, names: Sequence[str], *, seed: int, descriptions: Mapping[str, str] | None = None
    ) -> RawCentres:
        rows = 1 + 0.01 * np.random.default_rng(seed).standard_normal((len(names), 7))
        return RawCentres(rows, tuple(names))


def test_near_pairs_beyond_a_thousand_are_said_to_be_left_out() -> None:
    audited = audit(ClassNames(tuple(f"n{i}" for i in range(50))), Alike())
    assert found(audited)["note", "not checked", ()] == 1
    assert sum(f.kind == "near centres" for f in audited.findings) == 1000
