"""Class names from every source, and each fault with its place."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from centre_builders.class_names import ClassNames, check_class_names, read_class_names
from centre_builders.errors import InputError
from centre_builders.vocabulary import fold

IMAGENET = "torchvision:ResNet50_Weights.IMAGENET1K_V2"
CSV = 'description,Name\r\n"a bird, tall",crane\r\n\r\n,"T-shirt/top"\r\n'
ANIMALS = [{"name": "crane", "description": "a bird"}, "emu", {"description": None, "name": "é"}]


@pytest.mark.parametrize(
    ("file", "content", "names", "descriptions", "places"),
    [
        (
            "n.txt",
            "\ufeffpolar bear\r\n\n crane\ta bird\tof wetlands \nA\u2028B",
            ("polar bear", "crane", "A\u2028B"),
            {"crane": "a bird\tof wetlands"},
            (":1", ":3", ":4"),
        ),
        ("n.csv", CSV, ("crane", "T-shirt/top"), {"crane": "a bird, tall"}, (":2", ":4")),
        ("n.CSV", "name\ncat\n", ("cat",), {}, (":2",)),
        (
            "n.json",
            json.dumps(ANIMALS),
            ("crane", "emu", "é"),
            {"crane": "a bird"},
            (": class 0", ": class 1", ": class 2"),
        ),
        (
            "n.json",
            '{"crane": "a bird", "emu": "", "asp": null}',
            ("crane", "emu", "asp"),
            {"crane": "a bird"},
            (": class 0", ": class 1", ": class 2"),
        ),
    ],
)
def test_reads_files(
    tmp_path: Path,
    file: str,
    content: str,
    names: tuple[str, ...],
    descriptions: dict[str, str],
    places: tuple[str, ...],
) -> None:
    path = tmp_path / file
    path.write_bytes(content.encode())
    wanted = ClassNames(names, descriptions, tuple(f"{path}{place}" for place in places))
    assert read_class_names(path) == wanted


@given(names=st.lists(st.text(), min_size=1), described=st.booleans())
def test_any_text_comes_back_from_json(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], described: bool
) -> None:
    path = tmp_path_factory.mktemp("names") / "n.json"
    texts = [f"the {name}" for name in names]
    items = [{"name": n, "description": t} for n, t in zip(names, texts, strict=True)]
    path.write_text(json.dumps(items if described else names))
    read = read_class_names(path)
    assert read.names == tuple(names)
    assert read.descriptions == (dict(zip(names, texts, strict=True)) if described else {})


def test_reads_a_folder_of_images(tmp_path: Path) -> None:
    for name in ("zebra", "Ankle boot", ".cache", "unlabelled"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("no class")
    assert read_class_names(tmp_path).names == ("Ankle boot", "zebra")


def test_reads_torchvision_and_says_which_classes_share_a_name() -> None:
    read = read_class_names(IMAGENET)
    assert len(read.names) == 1000
    assert (read.names[0], read.names[264], read.names[474]) == ("tench", "Cardigan", "cardigan")
    with pytest.raises(InputError) as refused:
        check_class_names(read)
    assert str(refused.value) == (
        f"{IMAGENET}[474]: 'cardigan' is the same name as 'Cardigan' ({IMAGENET}[264]);"
        " rename or remove one, or set number_duplicates=true"
    )
    numbered = read_class_names(IMAGENET, number_duplicates=True)
    changed = {i: n for i, n in enumerate(numbered.names) if n != read.names[i]}
    assert changed == {474: "cardigan (2)"}
    assert numbered.descriptions == {"cardigan (2)": "cardigan"}
    check_class_names(numbered)


@pytest.mark.parametrize("name", ["ResNet50_Weights.V9", "resnet50", "Nonsense.V1"])
def test_torchvision_lacks_weights(name: str) -> None:
    with pytest.raises(InputError, match=f"no weights '{name}'; write such as torchvision:ResNet"):
        read_class_names(f"torchvision:{name}")


def test_torchvision_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(InputError, match="needs torchvision .*; pip install torchvision"):
        read_class_names(IMAGENET)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("n.txt", b"cat\n\xff\xfe\n", "n.txt:2 is not UTF-8"),
        ("n.csv", b"name\ncat\ndo\xe9\n", "n.csv:3 is not UTF-8"),
        ("n.txt", b" \n\n", "n.txt holds no class names"),
        ("n.txt", b"cat\n\ta text\n", "n.txt:2 has no name before the tab"),
        ("n.csv", b"", "n.csv:1 has the header ''; write 'name,description'"),
        ("n.csv", b"cat\ndog\n", "n.csv:1 has the header 'cat'"),
        ("n.csv", b"name,desciption\ncat,x\n", "n.csv:1 has the header 'name,desciption'"),
        ("n.csv", b"description\ncat\n", "n.csv:1 has the header 'description'"),
        ("n.csv", b"name,name\ncat,x\n", "n.csv:1 has the header 'name,name'"),
        ("n.csv", b"name,description\ncat,a, b\n", "n.csv:2 has 3 fields, the header 2; put"),
        ("n.csv", b"name,description\ncat,a\n,b\n", "n.csv:3 has no name"),
        ("n.csv", b'name\n"cat\n', "n.csv:2 is not CSV"),
        ("n.csv", b"name\n", "n.csv holds no class names"),
        ("n.json", b'["cat",\n,]', "n.json:2 is not JSON"),
        ("n.json", b"[" * 100_000, "n.json is not a list of names"),
        ("n.json", b"[]", "n.json holds no class names"),
        ("n.json", b'"cat"', "n.json holds a text; write a list of names"),
        ("n.json", b'["a","b","c",false]', "n.json: class 3 is boolean False; quote it"),
        ("n.json", b'["a",1e3]', "n.json: class 1 is number 1000.0; quote it"),
        ("n.json", b'["a",null]', "n.json: class 1 is null; quote it"),
        ("n.json", b'["a",["b"]]', "n.json: class 1 is a list; quote it"),
        ("n.json", b'[{"label":"b"}]', r"n.json: class 0 has the keys \['label'\]; write 'name'"),
        ("n.json", b'[{"name":"b","name":"c"}]', "class 0 has the keys"),
        ("n.json", b'{"b":true}', "class 0: the description of 'b' is boolean True; quote it"),
    ],
)
def test_faults_of_files_are_one_line_with_the_place(
    tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=said) as refused:
        read_class_names(tmp_path / file)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / file))
    assert ";" in str(refused.value)


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.txt cannot be read \(No such file"):
        read_class_names(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "Ankle_Boot\nbag\nankle  boot\n",
            "n.txt:3: 'ankle  boot' is the same name as 'Ankle_Boot",
        ),
        ("E\u0301te\n\u00e9TE\n", r"n.txt:2: .*\(.*n.txt:1\)"),
        ("cat\ndo\u202eg\n", "n.txt:2 .* holds the invisible character U\\+202E"),
        ("cat\n___\n", "n.txt:2 has an empty name"),
    ],
)
def test_bad_names_are_read_but_not_passed(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "n.txt").write_text(content)
    read = read_class_names(tmp_path / "n.txt")
    assert len(read.names) == content.count("\n")
    with pytest.raises(InputError, match=said):
        check_class_names(read)


def test_checked_names_are_composed() -> None:
    found = ClassNames(("e\u0301te", "emu"), {"e\u0301te": "summer"})
    assert check_class_names(found) == ClassNames(("\u00e9te", "emu"), {"\u00e9te": "summer"})


def test_first_description_of_a_name_is_kept(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("name,description\ncrane,a bird\ncrane,a machine\n")
    assert read_class_names(tmp_path / "n.csv").descriptions == {"crane": "a bird"}


def test_numbers_pass_over_names_that_are_taken(tmp_path: Path) -> None:
    text = "name,description\ncrane,a bird\ncrane (2),\nCrane,a machine\ncrane,\n"
    (tmp_path / "n.csv").write_text(text)
    read = read_class_names(tmp_path / "n.csv", number_duplicates=True)
    assert read.names == ("crane", "crane (2)", "Crane (3)", "crane (4)")
    assert read.descriptions == {
        "crane": "a bird",
        "Crane (3)": "a machine",
        "crane (4)": "crane",
    }


@given(names=st.lists(st.sampled_from(["a", "A", "a_", "a (2)", "A  (2)", "b"]), min_size=1))
def test_numbered_names_differ_and_first_ones_stay(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("names") / "n.json"
    path.write_text(json.dumps(names))
    numbered = read_class_names(path, number_duplicates=True).names
    assert len({fold(name) for name in numbered}) == len(names)
    for row, name in enumerate(names):
        if fold(name) not in {fold(before) for before in names[:row]}:
            assert numbered[row] == name
