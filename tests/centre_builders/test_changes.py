"""Classes that change: old centres stand still, new ones go where the bank's own builder says."""

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from centre_builders.bank import CentreBank
from centre_builders.building import build_bank
from centre_builders.changes import add, close_pairs, rename, retire
from centre_builders.errors import InputError
from centre_builders.from_file import FromFile
from centre_builders.hierarchy import Hierarchy
from centre_builders.mix import Mix
from centre_builders.one_hot import OneHot
from centre_builders.protocol import CentreBuilder
from centre_builders.random_orthogonal import RandomOrthogonal
from centre_builders.semantic_separated import SemanticSeparated
from centre_builders.sentence import Sentence, packaged_minilm
from centre_builders.steps import OwnAxes, RemoveDirections
from centre_builders.stored import describe_builder, rebuild
from centre_builders.word2vec import Word2Vec

ANIMALS = ["cat", "dog", "zebra", "trout"]
BUILDERS = [
    OneHot(),
    RandomOrthogonal(dimension=9),
    Word2Vec(),
    Sentence(templates=("{}", "the {}")),
    Mix(builders=[Word2Vec(), Sentence()], weights=[1.0, 3.0]),
]


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: type(b).__name__)
def test_added_class_moves_no_old_centre(builder: CentreBuilder, tmp_path: Path) -> None:
    build_bank(builder, ANIMALS, dimension=9).save(tmp_path / "old")
    old = CentreBank.load(tmp_path / "old")
    new = add(old, ["lion", "salmon"])
    assert new.names == (*ANIMALS, "lion", "salmon")
    assert new.vectors[:4].tobytes() == old.vectors.tobytes()
    assert new.provenance["history"][-1] == {"parent": old.fingerprint, "added": ["lion", "salmon"]}
    new.save(tmp_path / "new")
    assert CentreBank.load(tmp_path / "new").fingerprint == new.fingerprint


@pytest.mark.parametrize("builder", BUILDERS[2:], ids=lambda b: type(b).__name__)
def test_text_class_comes_where_it_would_have_been(builder: CentreBuilder) -> None:
    """The conditioning is that of the old names, here applied by hand."""
    old = build_bank(builder, ANIMALS)
    raw = builder.build([*ANIMALS, "lion"], seed=0).vectors
    row = raw[4] - raw[:4].mean(axis=0)
    np.testing.assert_allclose(add(old, ["lion"]).vectors[4], row / np.linalg.norm(row), atol=1e-6)


def test_added_through_all_steps_of_conditioning() -> None:
    old = build_bank(Word2Vec(), ANIMALS, steps=[RemoveDirections(1)], dimension=3)
    new = add(old, ["lion"])
    cosines = new.vectors[4] @ old.vectors.T
    assert int(cosines.argmax()) in (0, 2)  # a cat, or a beast of the savanna, but no trout


def test_geometric_classes_are_orthogonal_to_all_others() -> None:
    for builder in BUILDERS[:2]:
        new = add(build_bank(builder, ANIMALS, dimension=9), ["lion", "salmon"])
        np.testing.assert_allclose(new.vectors @ new.vectors.T, np.eye(6), atol=1e-6)


def test_one_hot_says_when_no_axis_is_left() -> None:
    with pytest.raises(InputError, match=r"has 1 of 5; build it anew with centres.dimension=6"):
        add(build_bank(OneHot(), ANIMALS, dimension=5), ["lion", "salmon"])


def test_description_is_read_in_place_of_the_name() -> None:
    old = build_bank(Sentence(), ANIMALS)
    plain, told = (
        add(old, ["seal"], descriptions=d).vectors[4] for d in (None, {"seal": "a stamp in wax"})
    )
    animal = add(old, ["sea lion"]).vectors[4]
    assert animal @ plain > animal @ told + 0.2


def test_names_that_are_there_are_refused() -> None:
    with pytest.raises(InputError, match="'cat' and 'Cat' are the same name"):
        add(build_bank(OneHot(), ANIMALS, dimension=9), ["Cat"])


def test_one_text_is_no_list_of_names() -> None:
    bank = build_bank(OneHot(), ANIMALS, dimension=9)
    for change in (
        lambda: add(bank, "ox"),
        lambda: retire(bank, "ox"),
        lambda: build_bank(OneHot(), "ox"),
    ):
        with pytest.raises(InputError, match=r"a list; write \['ox'\]"):
            change()


def test_changed_vectors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("a,1,0\nb,0,1\nc,1,1\n")
    bank = build_bank(FromFile(path=str(path)), ["a", "b"])
    assert add(bank, ["c"]).vectors[2] == pytest.approx([0.5**0.5] * 2)
    path.write_text("a,1,0\nb,0,1\nc,1,2\n")
    with pytest.raises(InputError, match="was built from sha256"):
        add(bank, ["c"])


def test_rename_keeps_centre_and_text() -> None:
    old = build_bank(Word2Vec(), ANIMALS)
    new = rename(old, {"cat": "pussycat"})
    assert new.names == ("pussycat", *ANIMALS[1:])
    assert new.texts[0] == "cat"
    assert new.vectors.tobytes() == old.vectors.tobytes()
    with pytest.raises(InputError, match="'lion'"):
        rename(old, {"lion": "leo"})
    with pytest.raises(InputError, match="same name twice"):
        rename(old, {"cat": "dog"})


def test_retire_keeps_the_others() -> None:
    old = build_bank(Word2Vec(), ANIMALS)
    new = retire(old, ["dog"])
    assert new.names == ("cat", "zebra", "trout")
    assert new.vectors.tobytes() == old.vectors[[0, 2, 3]].tobytes()
    with pytest.raises(InputError, match="leaves no centre"):
        retire(old, ANIMALS)


def test_close_pairs_are_those_of_brute_force() -> None:
    rows = np.random.default_rng(0).standard_normal((9, 3))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    bank = CentreBank(tuple("abcdefghi"), rows, {})
    found = close_pairs(bank, ["b", "c", "h"], degrees=60.0)
    wanted = {}
    for i in (1, 2, 7):
        for j in range(9):
            angle = np.degrees(np.arccos(np.clip(float(rows[i] @ rows[j]), -1, 1)))
            if i != j and angle < 60:
                wanted[frozenset((bank.names[i], bank.names[j]))] = angle
    assert {frozenset(pair[:2]) for pair in found} == set(wanted)
    assert len(found) == len(wanted) > 2
    for first, second, angle in found:
        assert angle == pytest.approx(wanted[frozenset((first, second))], abs=1e-3)


def test_stored_builder_is_the_builder() -> None:
    for builder in BUILDERS:
        assert describe_builder(rebuild(describe_builder(builder))) == describe_builder(builder)


@pytest.mark.parametrize(
    "target",
    ["os.system", "centre_builders.bank.CentreBank", "centre_builders.stored.rebuild",
     "centre_builders.artefact.shutil.rmtree", "centre_builders.one_hot.Mapping", "x", None],
)  # fmt: skip
def test_foreign_builders_of_a_bank_are_not_called(target: str | None) -> None:
    bank = build_bank(OneHot(), ANIMALS, dimension=9)
    bad = replace(bank, provenance={**bank.provenance, "builder": {"_target_": target}})
    with pytest.raises(InputError, match="was built by|refuses its keywords"):
        add(bad, ["lion"])


def test_bank_cannot_switch_on_pickles(tmp_path: Path) -> None:
    of_old = {**describe_builder(Word2Vec(path=str(tmp_path / "x.kv"))), "trust_pickle": True}
    assert rebuild(of_old) == Word2Vec(path=str(tmp_path / "x.kv"))


@dataclass(frozen=True)
class Own:
    """A builder of somebody else, whose rows depend on one another."""

    def build(self, names, *, seed, descriptions=None):  # noqa: ANN001, ANN201
        return OneHot().build(names, seed=seed)


def test_dependent_rows_cannot_be_added_to() -> None:
    bank = build_bank(Own(), ANIMALS, dimension=9)
    with pytest.raises(InputError, match=r"is not of centre_builders; give the builder"):
        add(bank, ["lion"])
    with pytest.raises(InputError, match="Own has no place for a further class"):
        add(bank, ["lion"], builder=Own())


def separated_bank() -> CentreBank:
    builder = SemanticSeparated(base=Word2Vec(), largest_cosine=0.6, dimension=30)
    names = ["cat", "dog", "wolf", "car", "truck", "bus", "bat", "apple", "pear"]
    return build_bank(builder, names, seed=0, descriptions={"bat": "baseball club"})


def cosine_to(bank: CentreBank, new: str, old: str) -> float:
    rows = bank.rows_of((new, old))
    return float(bank.vectors[rows[0]] @ bank.vectors[rows[1]])


def test_placed_class_is_where_it_was_whatever_was_retired_or_renamed() -> None:
    bank = separated_bank()
    wanted = cosine_to(add(bank, ["lion"]), "lion", "cat")
    few = retire(bank, ["car", "truck", "bus", "bat", "apple", "pear"])
    assert cosine_to(add(few, ["lion"]), "lion", "cat") == pytest.approx(wanted, abs=0.03)
    renamed = rename(bank, {"car": "lioness", "cat": "zzxqy"})
    assert cosine_to(add(renamed, ["lion"]), "lion", "zzxqy") == pytest.approx(wanted, abs=0.01)


def test_placed_class_is_read_by_its_description() -> None:
    bank = add(separated_bank(), ["jaguar"], descriptions={"jaguar": "car bus"})
    assert cosine_to(bank, "jaguar", "bus") > 0.4
    assert bank.texts[-1] == "car bus"
    with pytest.raises(InputError, match="description of 'lyon', which is not a class name"):
        add(bank, ["lion"], descriptions={"lyon": "a cat"})


def test_wordnet_class_is_placed_beside_renamed_ones() -> None:
    builder = Hierarchy()
    bank = build_bank(builder, ["cat", "car", "oak"], dimension=8, remove_mean=False)
    moved = add(rename(bank, {"cat": "kitty"}), ["dog"])
    np.testing.assert_array_equal(moved.vectors, add(bank, ["dog"]).vectors)


def test_retired_number_does_not_bring_a_centre_back() -> None:
    bank = build_bank(RandomOrthogonal(dimension=8), [f"class {i}" for i in range(20)])
    bank = retire(add(bank, ["x"]), ["class 0"])
    more = add(bank, ["y"])
    assert cosine_to(more, "y", "x") < 0.99


def test_added_name_is_composed() -> None:
    bank = add(build_bank(OneHot(), ["a"], dimension=3), ["cafe\u0301"])
    assert bank.names == ("a", "caf\u00e9")
    assert rename(bank, {"a": "o\u0308"}).names[0] == "\u00f6"


def test_changed_model_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(packaged_minilm(), folder)
    bank = build_bank(Sentence(model=str(folder)), ["cat", "dog", "car"])
    (folder / "README.md").write_text("another")
    with pytest.raises(InputError, match="built from sha256"):
        add(bank, ["lion"])


def test_close_by_meaning_where_the_old_have_axes_of_their_own() -> None:
    bank = build_bank(Sentence(), ["cat", "car", "oak"], steps=[OwnAxes(0.5)])
    more = add(bank, ["a cat", "dog"])
    assert math.degrees(math.acos(cosine_to(more, "a cat", "cat"))) > 30
    ((new, old, angle),) = close_pairs(more, ["a cat", "dog"], degrees=30.0)
    assert (new, old) == ("a cat", "cat")
    assert angle < 30
