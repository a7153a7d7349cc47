"""Tests of centre_builders.tree_files: two formats, one hierarchy, and every fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from centre_builders.errors import InputError
from centre_builders.taxonomy import Taxonomy, wu_palmer_similarity
from centre_builders.tree_files import read_taxonomy

Write = Callable[[str, str | bytes], Path]
TREE = {
    "mammal": "animal", "fish": "animal", "cat": "mammal", "dog": "mammal", "puppy": "dog",
    "carp": "fish", "shoe": "thing", "boot": "shoe", "sandal": "shoe", "animal": "thing",
}  # fmt: skip
CLASSES = ["cat", "dog", "puppy", "carp", "boot", "sandal"]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return writer


def test_csv_and_yaml_give_one_hierarchy(write: Write) -> None:
    csv = write("t.csv", "child,parent\n" + "".join(f"{k},{v}\n" for k, v in TREE.items()))
    nested = (
        "thing:\n  animal:\n    mammal:\n      cat:\n      dog: puppy\n    fish: [carp]\n"
        "  shoe:\n  - boot\n  - sandal\n"
    )
    from_csv, from_yaml = (read_taxonomy(p) for p in (csv, write("t.yaml", nested)))
    for taxonomy in (from_csv, from_yaml):
        assert sorted(taxonomy.nodes) == sorted({*TREE, "thing"})
        similarity = wu_palmer_similarity(taxonomy, taxonomy.rows_of(CLASSES))
        plain = Taxonomy.from_parents(TREE)
        wanted = wu_palmer_similarity(plain, plain.rows_of(CLASSES))
        np.testing.assert_array_equal(similarity, wanted)


def test_csv_may_be_a_dag_with_quotes_and_a_byte_order_mark(write: Write) -> None:
    pairs = '"T-shirt, white",tops\n"T-shirt, white",sport\ntops,all\nsport,all\n'
    text = "\ufeffchild, parent\n" + pairs
    taxonomy = read_taxonomy(write("t.csv", text))
    row = int(taxonomy.rows_of(["t-shirt, white"])[0])
    assert {taxonomy.nodes[p] for p in taxonomy.parents[row]} == {"tops", "sport"}


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("t.txt", "a", "none of .csv, .yaml, .yml"),
        ("t.csv", "", r":1 has the header '', wanted 'child,parent'"),
        ("t.csv", "parent,child\na,b\n", r":1 has the header 'parent,child'"),
        ("t.csv", "child,parent\n", "holds no hierarchy"),
        ("t.csv", "child,parent\na,b\nc\n", r":3 holds 'c', wanted a child and its parent"),
        ("t.csv", "child,parent\na,\n", r":2 holds 'a,'"),
        ("t.csv", 'child,parent\n"a,b\n', "is not CSV"),
        ("t.csv", "child,parent\na,b\nb,a\n", "t.csv: the hierarchy runs in a circle"),
        ("t.csv", b"child,parent\n\xff,b\n", "is not UTF-8"),
        ("t.yaml", "", "holds no hierarchy"),
        ("t.yaml", "a: [b, no]\n", r":1 holds 'no', which YAML does not read as text"),
        ("t.yaml", "a:\n- b\n- 012\n", r":3 holds '012'"),
        ("t.yaml", "a: [b, null]\n", r":1 holds 'null'"),
        ("t.yaml", "2001-01-01: [b]\n", r":1 holds '2001-01-01'"),
        ("t.yaml", "a: [b, '']\n", r":1 holds ''"),
        ("t.yaml", "a:\n  x: [b]\n  y: [B]\n", r":3 places 'B' again after line 2"),
        ("t.yaml", "a: [b]\na: [c]\n", r":2 places 'a' again after line 1"),
        ("t.yaml", "a: [b, b]\n", r":1 places 'b' again"),
        ("t.yaml", "a: [a]\n", r":1 places 'a' again"),
        ("t.yaml", "a: &x [b]\nc: *x\n", "line 1 is used again by an alias"),
        ("t.yaml", "a: [b\n", "is not YAML"),
        ("t.yaml", "a: [b]\n---\nc: [d]\n", "is not YAML"),
        ("t.yaml", "a: !!python/object:os.system [b]\nb", "is not YAML"),
        ("t.yaml", "[" * 3000, "is nested too deep"),
    ],
)
def test_malformed_file_is_refused_in_one_line(
    write: Write, name: str, text: str | bytes, fault: str
) -> None:
    with pytest.raises(InputError, match=fault) as caught:
        read_taxonomy(write(name, text))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_billion_laughs_end_at_once(write: Write) -> None:
    lines = ["a: &a []"]
    for name, before in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    with pytest.raises(InputError, match="used again by an alias"):
        read_taxonomy(write("t.yaml", "\n".join(lines)))


def test_missing_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv is not a file; set centres.builder.tree"):
        read_taxonomy(tmp_path / "gone.csv")
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(1 << 25)
    with pytest.raises(InputError, match="33554432 bytes; wanted 16777216 at most"):
        read_taxonomy(tmp_path / "big.yaml")
