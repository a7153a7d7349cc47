"""Builders over other builders, files and pictures; the cache of texts."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file

from centre_builders import text_cache
from centre_builders.building import build_bank
from centre_builders.changes import add
from centre_builders.embedded import complete, read_embedded, write_part
from centre_builders.errors import InputError
from centre_builders.from_file import FromFile
from centre_builders.items import make_items
from centre_builders.mix import Mix
from centre_builders.one_hot import OneHot
from centre_builders.prototypes import Prototypes
from centre_builders.random_orthogonal import RandomOrthogonal
from centre_builders.word2vec import Word2Vec

NAMES = ("cat", "sea lion", "Été")
ROWS = np.random.default_rng(0).standard_normal((3, 4))


def test_mixed_cosines_are_the_weighted_mean() -> None:
    parts = [RandomOrthogonal(dimension=2), Word2Vec()]
    names = ["cat", "dog", "zebra"]
    grams = []
    for part in parts:
        rows = part.build(names, seed=4).vectors
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        grams.append(rows @ rows.T)
    mixed = Mix(builders=parts, weights=[3.0, 1.0]).build(names, seed=4)
    np.testing.assert_allclose(
        mixed.vectors @ mixed.vectors.T, 0.75 * grams[0] + 0.25 * grams[1], atol=1e-9
    )
    assert mixed.shares_mean
    assert not mixed.independent


def test_average_of_two_banks_of_one_space() -> None:
    first, second = RandomOrthogonal(dimension=5), OneHot()
    mixed = Mix(builders=[first, second], how="average").build("abcde", seed=1).vectors
    wanted = (first.build("abcde", seed=1).vectors + np.eye(5)) / 2
    np.testing.assert_allclose(mixed, wanted)
    with pytest.raises(InputError, match="these have 5, 4; take how=concatenate"):
        Mix(builders=[first, second], how="average").build("abcd", seed=1)


@pytest.mark.parametrize(
    ("builders", "weights", "said"),
    [([OneHot()], None, "1 builders"), ([OneHot()] * 2, [1.0, -1.0], r"\[1.0, -1.0\] for 2")],
)
def test_bad_mixes_are_refused(builders: list[OneHot], weights: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Mix(builders=builders, weights=weights)


def write_vectors(folder: Path, kind: str) -> FromFile:
    """The same names and rows in every format."""
    path = folder / f"v{kind}"
    (folder / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    if kind == ".npy":
        np.save(path, ROWS.astype(np.float32))
        return FromFile(path=str(path), names_path=str(folder / "names.txt"))
    if kind == ".safetensors":
        save_file({"centres": ROWS}, path, {"names": json.dumps(NAMES)})
    elif kind == ".csv":
        lines = [",".join([name, *map(str, row)]) for name, row in zip(NAMES, ROWS, strict=True)]
        path.write_text("\n".join(["name,a,b,c,d", *lines]), encoding="utf-8")
    elif kind == ".parquet":
        parquet.write_table(pyarrow.table({"name": list(NAMES), "v": ROWS.tolist()}), path)
    return FromFile(path=str(path))


@pytest.mark.parametrize("kind", [".npy", ".safetensors", ".csv", ".parquet"])
def test_vectors_come_by_name_from_every_format(tmp_path: Path, kind: str) -> None:
    builder = write_vectors(tmp_path, kind)
    raw = builder.build(["été", "cat"], seed=0)
    np.testing.assert_allclose(raw.vectors, ROWS[[2, 0]], rtol=1e-6)
    np.testing.assert_allclose(builder.build(NAMES, seed=0).vectors, ROWS, rtol=1e-6)
    with pytest.raises(InputError, match=r"no vector for 'sealion' \(near: sea lion\)"):
        builder.build(["sealion"], seed=0)


def test_csv_as_spreadsheets_and_pandas_write_it(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_text("\ufeff\ncat,1,2\n\ndog,3,4\n\n", encoding="utf-8")
    np.testing.assert_array_equal(
        FromFile(path=str(path)).build(["dog", "cat"], seed=0).vectors, [[3, 4], [1, 2]]
    )
    path.write_text("name,0,1\ncat,1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="no vector for 'name'"):
        FromFile(path=str(path)).build(["name"], seed=0)


def test_parquet_of_pandas_keeps_row_numbers_out_and_names_must_be_text(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    columns = {"name": ["a", "b"], "x": [1.0, 0.0], "y": [0.0, 2.0], "__index_level_0__": [7, 9]}
    parquet.write_table(pyarrow.table(columns), path)
    raw = FromFile(path=str(path)).build(["b", "a"], seed=0)
    np.testing.assert_array_equal(raw.vectors, [[0, 2], [1, 0]])
    parquet.write_table(pyarrow.table(columns | {"name": [1, 2]}), path)
    with pytest.raises(InputError, match="names must be a list of texts"):
        FromFile(path=str(path)).build(["a"], seed=0)


def test_parquet_of_numeric_columns(tmp_path: Path) -> None:
    columns = {"name": list(NAMES)} | {f"c{i}": ROWS[:, i] for i in range(4)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "v.parquet")
    raw = FromFile(path=str(tmp_path / "v.parquet")).build(NAMES, seed=0)
    np.testing.assert_allclose(raw.vectors, ROWS)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("v.csv", "cat,1,2\ndog,1\n", r"v\.csv:2 has 1 numbers, wanted 2"),
        ("v.csv", "cat,1,2\ndog,1,x\n", r"v\.csv:2 holds what is no number"),
        ("v.csv", "cat,1,2\ndog,0,0\n", r"'dog' \(row 1\) is zero or not finite"),
        ("v.csv", "cat,1,2\ndog,nan,0\n", r"'dog' \(row 1\) is zero or not finite"),
        ("v.csv", "cat,1,2\nCat,3,4\n", "gives 'Cat' twice"),
        ("v.csv", "", "wanted floats"),
        ("v.csv", "cat,1,O\ndog,1,2\n", r"v\.csv:1 holds what is no number"),
        ("v.csv", "cat,1,2\n" + "x" * 200_000 + ",1,2\n", "is not a .csv file of vectors"),
        ("v.npy", "x", r"is not a \.npy file of vectors"),
        ("v.safetensors", "x" * 20, r"is not a \.safetensors file of vectors"),
        ("v.parquet", "x", r"is not a \.parquet file of vectors"),
        ("v.pkl", "x", r"is none of \.npy"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, file: str, content: str, said: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=said):
        FromFile(path=str(tmp_path / file)).build(["cat", "dog"], seed=0)


def test_names_must_fit_the_rows(tmp_path: Path) -> None:
    builder = write_vectors(tmp_path, ".npy")
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match="3 rows for 2 names"):
        builder.build(["a"], seed=0)
    with pytest.raises(InputError, match="holds no names"):
        FromFile(path=builder.path).build(["a"], seed=0)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder as `semcentres embed` writes it."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((12, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = [*NAMES[:3], None] * 3
    for number, part in enumerate((slice(0, 5), slice(5, 12))):
        items = make_items(np.arange(12)[part], [None] * len(labels[part]), labels[part])
        about = {"model": "m", "rows": len(items)}
        write_part(tmp_path, number, rows[part], items, about)
    complete(tmp_path, {"model": "m"}, 2)
    return tmp_path


def test_prototypes_are_class_means(pictures: Path) -> None:
    rows = read_embedded(pictures).vectors.astype(np.float64)
    found = Prototypes(embeddings=str(pictures)).build(["sea lion", "cat"], seed=0).vectors
    for row, label in zip(found, (1, 0), strict=True):
        mean = rows[label::4].mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean))


def test_few_shots_are_drawn_by_the_seed_and_the_name(pictures: Path) -> None:
    few = Prototypes(embeddings=str(pictures), shots=1)
    rows = read_embedded(pictures).vectors
    drawn = [few.build(["cat"], seed=s).vectors[0] for s in range(8)]
    for row in drawn:
        assert np.abs(rows[::4] - row).max(axis=1).min() < 1e-6
    assert len({row.round(4).tobytes() for row in drawn}) > 1
    np.testing.assert_array_equal(few.build(["sea lion", "cat"], seed=3).vectors[1], drawn[3])
    with pytest.raises(InputError, match="3 images of 'cat', 5 are needed"):
        Prototypes(embeddings=str(pictures), shots=5).build(["cat"], seed=0)
    with pytest.raises(InputError, match="0 images of 'dog'"):
        few.build(["dog"], seed=0)


def test_pictures_add_a_class_in_their_own_space(pictures: Path) -> None:
    bank = build_bank(Word2Vec(), ["dog", "zebra", "trout"], dimension=4)
    new = add(bank, ["cat"], builder=Prototypes(embeddings=str(pictures)))
    wanted = Prototypes(embeddings=str(pictures)).build(["cat"], seed=0).vectors[0]
    np.testing.assert_allclose(new.vectors[3], wanted, atol=1e-6)


def test_texts_are_embedded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCENTRES_CACHE", str(tmp_path))
    asked: list[list[str]] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.append(list(texts))
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)

    first = text_cache.embed_cached("m", ["a", "bb", "a"], embed)
    again = text_cache.embed_cached("m", ["bb", "c", "a"], embed)
    np.testing.assert_array_equal(first, [[1, 97], [2, 98], [1, 97]])
    np.testing.assert_array_equal(again, [[2, 98], [1, 99], [1, 97]])
    assert asked == [["a", "bb"], ["c"]]
    text_cache.embed_cached("other", ["a"], embed)
    assert asked[-1] == ["a"]
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(text_cache.embed_cached("m", ["a"], embed), [[1, 97]])
    assert asked[-1] == ["a"]
