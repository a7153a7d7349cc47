"""Tests of lists of image files: folders of splits, manifests, and what is wrong with a row."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from centre_builders.errors import InputError
from semcentres.data.folder import folder
from semcentres.data.manifest import manifest
from semcentres.data.source import UNLABELLED
from semcentres.data.split import split_labels


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of 5 and 7 grey squares, each of its own grey, and 3 without a label."""
    for name, greys in {"ant": range(5), "bee": range(10, 17), "unlabelled": range(30, 33)}.items():
        (tmp_path / "own" / name).mkdir(parents=True)
        for grey in greys:
            Image.new("L", (6, 6), grey).save(tmp_path / "own" / name / f"{grey:02}.png")
    return tmp_path / "own"


def rows(pictures: Path) -> list[tuple[str, str]]:
    paths = sorted(path.relative_to(pictures) for path in pictures.rglob("*.png"))
    return [(f"own/{p}", "" if p.parts[0] == "unlabelled" else p.parts[0]) for p in paths]


def write(path: Path, table: list[tuple[str, ...]], *columns: str) -> str:
    """Write a manifest; its suffix says of which kind."""
    if path.suffix == ".csv":
        path.write_text("".join(",".join(row) + "\n" for row in [columns, *table]))
    else:
        cells = zip(*[[cell or None for cell in row] for row in table], strict=True)
        parquet.write_table(
            pa.table({n: pa.array(c, pa.string()) for n, c in zip(columns, cells, strict=True)}),
            path,
        )
    return str(path)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_manifest_without_split_is_as_the_folder(pictures: Path, name: str) -> None:
    file = write(pictures.parent / name, rows(pictures), "path", "label")
    got, wanted = manifest(file=file, size=4).read(), folder(root=str(pictures), size=4).read()
    assert got.class_names == wanted.class_names == ("ant", "bee")
    assert got.fingerprint == wanted.fingerprint
    assert got.train.ids == tuple(f"own/{id_}" for id_ in wanted.train.ids)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_manifest_splits_as_it_says(pictures: Path, name: str) -> None:
    splits = ["train"] * 3 + ["validation", "test"] + ["test"] * 2 + ["validation"] + ["train"] * 4
    table = [(*row, split) for row, split in zip(rows(pictures), [*splits, "", "", "train"])]  # noqa: B905
    source = manifest(file=write(pictures.parent / name, table, "path", "label", "split")).read()
    greys = source.train.images[:, 0, 0, 0].tolist()
    assert greys == [0, 1, 2, 13, 14, 15, 16, 30, 31, 32, 3, 12]
    assert source.train.labels.tolist() == [0] * 3 + [1] * 4 + [UNLABELLED] * 3 + [0, 1]
    assert source.test.images[:, 0, 0, 0].tolist() == [4, 10, 11]
    assert source.test.labels.tolist() == [0, 1, 1]
    split = split_labels(source, labels_per_class=2, seed=5)
    assert split.validation.tolist() == [10, 11]
    assert split.labelled.max() < 7
    assert sorted(torch.cat([split.labelled, split.unlabelled]).tolist()) == list(range(10))
    with pytest.raises(InputError, match="2 validation images of its own"):
        split_labels(source, labels_per_class=2, validation=1)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([("", "ant", "train")], "line 2: path is empty"),
        ([("a.png", "ant", "train"), ("b.png", "ant", "dev")], "line 3: split 'dev' is none of"),
        ([("a.png", "", "test")], "line 2: a test image needs a label"),
        ([("a.png", "ant", "train"), ("a.png", "ant", "test")], "line 3: a.png is in .*line 2 too"),
        ([("a.png", "ant", "train"), ("b.png", "ant", "")], "line 3: split is empty"),
        ([("a.png", "ant", "train"), ("b.png", "bee", "test")], "no training image has .*'bee'"),
        ([("a.png", "ant, black", "train")], "line 2 has not 3 cells"),
        ([("a.png", "ant")], "line 2 has not 3 cells"),
        ([("a.png", "ant", "train")], "no test images"),
    ],
)
def test_bad_row_is_named(tmp_path: Path, table: list[tuple[str, ...]], said: str) -> None:
    file = write(tmp_path / "m.csv", table, "path", "label", "split")
    with pytest.raises(InputError, match=said):
        manifest(file=file)


def test_bad_table_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "m.csv", [("a.png", "ant")], "file", "label")
    with pytest.raises(InputError, match=r"m\.csv has no column path; it has file, label"):
        manifest(file=file)
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"bad\.parquet is no Parquet file"):
        manifest(file=str(tmp_path / "bad.parquet"))
    parquet.write_table(pa.table({"path": ["a"], "label": [3]}), tmp_path / "n.parquet")
    with pytest.raises(InputError, match=r"row 1: label is 3, of type int"):
        manifest(file=str(tmp_path / "n.parquet"))
    (tmp_path / "m.csv").write_bytes(b"path,label\n\xff.png,ant\n")
    with pytest.raises(InputError, match=r"m\.csv cannot be read"):
        manifest(file=str(tmp_path / "m.csv"))
    for name in ("m.txt", "none.csv"):
        with pytest.raises(InputError, match=name):
            manifest(file=str(tmp_path / name))


def test_folder_of_splits_is_taken_as_it_is(pictures: Path) -> None:
    base = pictures.parent / "split"
    for part, num in (("train", 3), ("test", 1), ("validation", 1)):
        for name in ("ant", "bee"):
            (base / part / name).mkdir(parents=True)
            for path in sorted((pictures / name).iterdir())[:num]:
                path.rename(base / part / name / path.name)
    (pictures / "unlabelled").rename(base / "train" / "unlabelled")
    (base / "unlabelled").mkdir()
    Image.new("L", (6, 6), 40).save(base / "unlabelled" / "40.png")
    source = folder(root=str(base), size=4).read()
    assert source.class_names == ("ant", "bee")
    greys = source.train.images[:, 0, 0, 0].tolist()
    assert greys == [0, 1, 2, 10, 11, 12, 40, 30, 31, 32, 4, 14]
    assert source.train.ids[0] == "train/ant/00.png"
    assert source.num_validation == 2
    assert source.test.images[:, 0, 0, 0].tolist() == [3, 13]
    (base / "test" / "cat").mkdir()
    with pytest.raises(InputError, match="cat is a class that is not trained"):
        folder(root=str(base))


def test_a_class_may_be_called_train(pictures: Path) -> None:
    (pictures / "bee").rename(pictures / "train")
    assert folder(root=str(pictures)).class_names == ("ant", "train")


@pytest.mark.parametrize(("key", "value"), [("channels", 2), ("size", 0), ("test_share", 1.0)])
def test_option_out_of_range_is_refused(pictures: Path, key: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{key}={value}"):
        folder(**{"root": str(pictures), key: value})
