"""Tests of centre_builders.taxonomy against recursion over paths, with no matrix."""

from itertools import combinations

import numpy as np
import pytest

from centre_builders.errors import InputError
from centre_builders.taxonomy import (
    Taxonomy,
    lcs_height_similarity,
    lcs_heights,
    wu_palmer_similarity,
)

TREE = {
    "mammal": "animal", "fish": "animal", "cat": "mammal", "dog": "mammal", "puppy": "dog",
    "carp": "fish", "shoe": "thing", "boot": "shoe", "sandal": "shoe", "animal": "thing",
}  # fmt: skip
# "ape" hangs below two parents, one of them deeper.
DAG = {**{k: [v] for k, v in TREE.items()}, "ape": ["mammal", "thing"], "pet": ["animal"]}
DAG |= {"cat": ["mammal", "pet"], "goldfish": ["fish", "pet"]}
CLASSES = ["cat", "dog", "puppy", "carp", "boot", "sandal"]


def paths(parents: dict[str, list[str]], node: str) -> list[list[str]]:
    """Every path from the root down to a node, by recursion."""
    above = parents.get(node, [])
    return [[*path, node] for up in above for path in paths(parents, up)] or [[node]]


def slow(parents: dict[str, list[str]], first: str, second: str) -> tuple[float, float]:
    """Both similarities of two different classes, from lists of paths and single nodes."""
    nodes = set(parents) | {up for listed in parents.values() for up in listed}
    depth = {node: max(map(len, paths(parents, node))) for node in nodes}
    below = {
        n: [p[p.index(n) :] for m in nodes for p in paths(parents, m) if n in p] for n in nodes
    }
    height = {node: max(len(path) - 1 for path in below[node]) for node in nodes}
    sets = [{n for path in paths(parents, name) for n in path} for name in (first, second)]
    lcs = max(sets[0] & sets[1], key=lambda node: (depth[node], -height[node]))
    return 1 - height[lcs] / height["thing"], 2 * depth[lcs] / (depth[first] + depth[second])


def test_depths_and_heights_by_hand() -> None:
    tree = Taxonomy.from_parents(TREE)
    found = {node: (int(tree.depths[i]), int(tree.heights[i])) for i, node in enumerate(tree.nodes)}
    assert found["thing"] == (1, 4)
    assert found["shoe"] == (2, 1)
    assert found["mammal"] == (3, 2)
    assert found["puppy"] == (5, 0)
    assert tree.nodes[0] == "thing"


@pytest.mark.parametrize("parents", [{k: [v] for k, v in TREE.items()}, DAG])
def test_similarities_equal_search_over_paths(parents: dict[str, list[str]]) -> None:
    names = [*CLASSES, *(["ape", "goldfish"] if parents is DAG else [])]
    taxonomy = Taxonomy.from_parents(parents)
    rows = taxonomy.rows_of(names)
    height, palmer = (f(taxonomy, rows) for f in (lcs_height_similarity, wu_palmer_similarity))
    for i, j in combinations(range(len(names)), 2):
        wanted = slow(parents, names[i], names[j])
        assert (height[i, j], palmer[i, j]) == pytest.approx(wanted), (names[i], names[j])
        assert (height[j, i], palmer[j, i]) == pytest.approx(wanted)
    np.testing.assert_array_equal(np.diag(height), 1)
    np.testing.assert_array_equal(np.diag(palmer), 1)


def test_values_by_hand() -> None:
    taxonomy = Taxonomy.from_parents(TREE)
    rows = taxonomy.rows_of(["cat", "dog", "puppy", "boot"])
    height, palmer = lcs_height_similarity(taxonomy, rows), wu_palmer_similarity(taxonomy, rows)
    assert height[0].tolist() == [1, 0.5, 0.5, 0]
    assert height[1, 2] == 0.75  # dog itself subsumes the puppy; its height is 1
    assert palmer[0].tolist() == pytest.approx([1, 6 / 8, 6 / 9, 2 / 7])
    assert lcs_heights(taxonomy, rows)[0].tolist() == [0, 2, 2, 4]


def test_order_of_names_and_of_children_does_not_matter() -> None:
    taxonomy = Taxonomy.from_parents(DAG)
    turned = Taxonomy.from_parents({k: v[::-1] for k, v in reversed(DAG.items())})
    order = [4, 2, 0, 5, 1, 3]
    for measure in (lcs_height_similarity, wu_palmer_similarity):
        plain = measure(taxonomy, taxonomy.rows_of(CLASSES))
        moved = measure(turned, turned.rows_of([CLASSES[i] for i in order]))
        np.testing.assert_array_equal(moved, plain[np.ix_(order, order)])


def test_several_roots_get_a_virtual_one() -> None:
    taxonomy = Taxonomy.from_parents({"cat": "animal", "boot": "shoe", "hat": [], "shoe": []})
    rows = taxonomy.rows_of(["cat", "boot", "hat"])
    np.testing.assert_array_equal(lcs_height_similarity(taxonomy, rows), np.eye(3))
    assert lcs_heights(taxonomy, rows)[0].tolist() == [0, 2, 2]


def test_names_are_folded() -> None:
    taxonomy = Taxonomy.from_parents({"Ankle_Boot": "SHOE", "sandal": "shoe"})
    assert taxonomy.nodes[taxonomy.rows_of(["ankle  boot"])[0]] == "Ankle_Boot"
    assert len(taxonomy.nodes) == 3


def test_circle_is_named() -> None:
    with pytest.raises(InputError, match=r"circle: .*dog > .*; cut it") as caught:
        Taxonomy.from_parents({**TREE, "animal": "puppy"})
    assert all(name in str(caught.value) for name in ("animal", "mammal", "dog", "puppy"))
    with pytest.raises(InputError, match="circle: a > a"):
        Taxonomy.from_parents({"a": "a"})


def test_missing_names_come_with_near_ones() -> None:
    with pytest.raises(InputError, match=r"no 'sandals' \(near: sandal, .*\); 'qqq'; add it"):
        Taxonomy.from_parents(TREE).rows_of(["cat", "sandals", "qqq"])


@pytest.mark.parametrize("order", [["p", "q"], ["q", "p"]])
def test_of_equally_deep_subsumers_the_lowest_is_taken(order: list[str]) -> None:
    below_q = {"q1": "q", "q2": "q1", "q3": "q2"}
    taxonomy = Taxonomy.from_parents({"p": "r", "q": "r", **below_q, "x": order, "y": order})
    rows = taxonomy.rows_of(["x", "y", "q3"])
    np.testing.assert_array_equal(lcs_heights(taxonomy, rows), [[0, 1, 3], [1, 0, 3], [3, 3, 0]])
