"""The bank's contract: what goes in is checked, what is written comes back or is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centre_builders.bank import CentreBank
from centre_builders.building import build_bank
from centre_builders.errors import CorruptArtefact, InputError
from centre_builders.one_hot import OneHot
from centre_builders.random_orthogonal import RandomOrthogonal
from centre_builders.sealed import load_sealed, save_sealed
from centre_builders.vocabulary import check_names, fold, words_of


@pytest.fixture(scope="module")
def bank() -> CentreBank:
    return build_bank(RandomOrthogonal(dimension=6), ["cat", "été", "AC/DC", "日本"], seed=2)


NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"]), min_size=1).filter(str.strip),
    min_size=1, max_size=5, unique_by=fold,
).filter(lambda names: all(fold(name) for name in names))  # fmt: skip


@given(NAMES)
@settings(max_examples=100, deadline=None)
def test_any_names_come_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("bank") / "b.safetensors"
    written = build_bank(OneHot(), names)
    written.save(path)
    read = CentreBank.load(path)
    assert read.names == written.names
    assert read.fingerprint == written.fingerprint
    assert read.provenance == written.provenance
    np.testing.assert_array_equal(read.vectors, written.vectors)


def test_equal_banks_are_equal_files(bank: CentreBank, tmp_path: Path) -> None:
    for name in ("a", "b"):
        bank.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_single_byte_is_guarded(bank: CentreBank, tmp_path: Path) -> None:
    path = tmp_path / "b.safetensors"
    bank.save(path)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CorruptArtefact, match=r"b\.safetensors"):
            CentreBank.load(path)
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptArtefact, match=r"b\.safetensors"):
            CentreBank.load(path)


def test_sealed_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_sealed(tmp_path / "other", {"weights": np.zeros(3)}, {"kind": "model"})
    with pytest.raises(CorruptArtefact, match="not a bank"):
        CentreBank.load(tmp_path / "other")
    assert load_sealed(tmp_path / "other")[1] == {"kind": "model"}


def test_text_that_is_no_unicode_is_refused_when_it_is_read(tmp_path: Path) -> None:
    """Half a surrogate pair, which JSON can write: it had no fingerprint. Found by R16."""
    build_bank(OneHot(), ["a", "b"]).save(tmp_path / "bank")
    tensors, metadata, _ = load_sealed(tmp_path / "bank")
    described = json.loads(metadata["bank"])
    described["provenance"]["source"] = "\ud800"
    save_sealed(tmp_path / "bank", tensors, {"bank": json.dumps(described)})
    with pytest.raises(CorruptArtefact, match="surrogates not allowed"):
        CentreBank.load(tmp_path / "bank")


def test_names_and_texts_of_a_million_classes_come_back(tmp_path: Path) -> None:
    """More of them than a safetensors file's header may hold."""
    names = tuple(f"class {number}" for number in range(2_000))
    written = build_bank(OneHot(), names[:2])
    texts = {name: "é" * 30_000 for name in names}
    vectors = np.random.default_rng(0).standard_normal((2_000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    bank = CentreBank(names, vectors, {**written.provenance, "texts": texts})
    bank.save(tmp_path / "many")
    for mapped in (False, True):
        read = CentreBank.load(tmp_path / "many", mapped=mapped)
        assert read.fingerprint == bank.fingerprint
        assert (read.names, read.texts) == (names, bank.texts)


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"long would have 100,000,\d+ bytes of names"):
        save_sealed(tmp_path / "long", {}, {"names": "x" * 100_000_000})
    assert not any(tmp_path.iterdir())


def test_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="semcentres centres"):
        CentreBank.load(tmp_path / "gone")


def test_select_reorders_by_name(bank: CentreBank) -> None:
    chosen = bank.select(["日本", "cat"])
    np.testing.assert_array_equal(chosen.vectors, bank.vectors[[3, 0]])
    assert chosen.provenance["selected_from"] == bank.fingerprint
    assert bank.select(bank.names) is bank
    with pytest.raises(InputError, match="'dog'"):
        bank.select(["cat", "dog"])


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.array([[1, 0], [0, 2]], "f4"), "'b' has length 2"),
        (np.array([[1, 0], [0, np.nan]], "f4"), "'b' has length nan"),
        (np.array([[1, 0], [1, 0]], "f4"), "'a' and 'b' have the same centre"),
        (np.eye(3, dtype="f4"), "2 names need as many"),
        (np.eye(2), "float64"),
    ],
)
def test_bad_vectors_are_named(vectors: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        CentreBank(("a", "b"), vectors, {})


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cat", "Cat"], "'cat' and 'Cat'"),
        (["cat"] * 2, "'cat' and 'cat'"),
        (["Ankle boot", "ankle_boot"], "'Ankle boot' and 'ankle_boot'"),
        (["caf\u00e9", "cafe\u0301"], "the same name twice"),
        (["cat", False], "class 1 is False, of type bool, not text; quote it"),
        (["cat", 12], "of type int"),
        (["cat", None], "of type NoneType"),
        (["cat", "  "], "class 1 has an empty name"),
        (["cat", "do\u202eg"], "U\\+202E"),
        (["cat", "a\x00b"], "U\\+0000"),
        ([], "no class names"),
    ],
)
def test_bad_names_are_named(names: list[object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_names(names)


@pytest.mark.parametrize(
    ("name", "known", "wanted"),
    [
        ("New York", {"new_york", "new", "york"}, ["new_york"]),
        ("New York", {"new", "york"}, ["new", "york"]),
        ("T-shirt/top", {"t-shirt", "top", "shirt"}, ["t-shirt", "top"]),
        ("T-shirt", {"t", "shirt"}, ["t", "shirt"]),
        ("Cat", {"Cat", "cat"}, ["Cat"]),
        ("dog (small)", {"dog", "small"}, ["dog", "small"]),
        ("o'clock", {"o'clock"}, ["o'clock"]),
        ("green zzz", {"green"}, ["green"]),
        ("zzz", {"green"}, []),
    ],
)
def test_words_of(name: str, known: set[str], wanted: list[str]) -> None:
    assert words_of(name, known.__contains__) == wanted
