"""A hierarchy of classes, and how near it puts two of them.

Every node stands below its parents. There may be several parents (WordNet) and several roots;
then one virtual root stands above them.

    depth    nodes on the longest path from the root; the root has 1
    height   edges on the longest path down to a leaf; a leaf has 0
    lcs      lowest common subsumer: of the nodes above both classes (a class is above itself),
             the deepest, and of equally deep ones the one of least height

In a tree every path is the only one, and the lcs is the lowest common ancestor.

Dimensions: M nodes, K classes, n of them.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from centre_builders.errors import InputError
from centre_builders.vocabulary import fold, near

# Child to parent, or to parents.
Parents = Mapping[str, str | Sequence[str]]
# Classes to something of each of them and all K.
Rows = Callable[[Int64[np.ndarray, " n"]], Int64[np.ndarray, "n K"]]


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """Nodes, parents before children; made by `from_parents`.

    Args:
        nodes: as they are spelt; folded, they differ. A virtual root is "".
        parents: of each node, as rows of `nodes`; the root, row 0, has none.
    """

    nodes: tuple[str, ...]
    parents: tuple[tuple[int, ...], ...]

    @classmethod
    def from_parents(cls, parents: Parents) -> "Taxonomy":
        """Return the hierarchy that gives each child its parent, or its parents.

        >>> tree = Taxonomy.from_parents({"cat": "animal", "dog": "animal", "boot": "shoe"})
        >>> [(node, int(tree.heights[row])) for row, node in enumerate(tree.nodes)]
        [('', 2), ('animal', 1), ('shoe', 1), ('cat', 0), ('dog', 0), ('boot', 0)]

        Raises:
            InputError: there is no node, or a node is above itself.
        """
        spelt: dict[str, str] = {}
        above: dict[str, list[str]] = {}
        for child, given in parents.items():
            listed = (given,) if isinstance(given, str) else given
            for name in (child, *listed):
                spelt.setdefault(fold(name), name)
            above.setdefault(fold(child), []).extend(map(fold, listed))
        if not spelt:
            raise InputError("the hierarchy has no nodes; give a child and its parent at least")
        order = _parents_first({key: above.get(key, ()) for key in spelt}, spelt)
        roots = [key for key in order if not above.get(key)]
        top = [""] if len(roots) > 1 else []
        row = {key: i for i, key in enumerate([*top, *order])}
        rows = [tuple(dict.fromkeys(row[key] for key in above.get(node) or top)) for node in order]
        rows = rows if top else [(), *rows[1:]]
        return cls((*top, *(spelt[key] for key in order)), (*((),) * len(top), *rows))

    @cached_property
    def depths(self) -> Int64[np.ndarray, " M"]:
        """Nodes on the longest path from the root, both ends counted."""
        depths = [1] * len(self.nodes)
        for row, parents in enumerate(self.parents):
            depths[row] = 1 + max((depths[parent] for parent in parents), default=0)
        return np.array(depths, dtype=np.int64)

    @cached_property
    def heights(self) -> Int64[np.ndarray, " M"]:
        """Edges on the longest path down to a leaf."""
        heights = [0] * len(self.nodes)
        for row in reversed(range(len(self.nodes))):
            for parent in self.parents[row]:
                heights[parent] = max(heights[parent], heights[row] + 1)
        return np.array(heights, dtype=np.int64)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {fold(node): row for row, node in enumerate(self.nodes)}

    def rows_of(self, names: Sequence[str]) -> Int64[np.ndarray, " K"]:
        """Return the rows of the names, compared after folding.

        Raises:
            InputError: the hierarchy lacks names; the message gives near ones.
        """
        row = self._row
        lacking = [name for name in names if fold(name) not in row]
        if lacking:
            said = "; ".join(repr(name) + near(name, self.nodes) for name in lacking[:10])
            raise InputError(f"the hierarchy has no {said}; add it, or correct the spelling")
        return np.array([row[fold(name)] for name in names], dtype=np.int64)

    def above(self, row: int) -> set[int]:
        """Return the rows of the nodes above a node, and its own."""
        found = {row}
        level = found
        while level:
            level = {parent for node in level for parent in self.parents[node]} - found
            found = found | level
        return found


@dataclass(frozen=True)
class Placed:
    """Class names found in a hierarchy.

    Args:
        taxonomy: the hierarchy.
        rows: the node of each class; no two are the same.
        texts: what each name was resolved to.
        source: where the hierarchy is from; JSON.
    """

    taxonomy: Taxonomy
    rows: Int64[np.ndarray, " K"]
    texts: tuple[str, ...]
    source: Mapping[str, Any]


def lcs_heights(taxonomy: Taxonomy, rows: Int64[np.ndarray, " K"]) -> Int64[np.ndarray, "K K"]:
    """Return the height of each pair's lcs, 0 for a class and itself.

    For a class that is not a leaf this takes the class for a leaf of its own below its node.
    """
    return lcs_heights_of(taxonomy, rows)(np.arange(len(rows)))


def lcs_heights_of(taxonomy: Taxonomy, rows: Int64[np.ndarray, " K"]) -> Rows:
    """Return a function to the rows of `lcs_heights` of some classes; no matrix is made."""
    lcs, heights = _lcs_of(taxonomy, rows), taxonomy.heights

    def rows_of(classes: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n K"]:
        found = heights[lcs(classes)]
        found[np.arange(len(classes)), classes] = 0
        return found

    return rows_of


def lcs_height_similarity(
    taxonomy: Taxonomy, rows: Int64[np.ndarray, " K"]
) -> Float[np.ndarray, "K K"]:
    """Return 1 - height(lcs) / height(root) of each pair, 1 for a class and itself.

    Barz and Denzler 2019 (arXiv:1809.09924); there the classes are leaves. In a tree it
    is positive definite, because lcs heights are an ultrametric.

    Args:
        taxonomy: the hierarchy.
        rows: of the classes, each once.

    Returns:
        Values in [0, 1], 0 where two classes meet only at the root.
    """
    return similarity_of(lcs_heights(taxonomy, rows), taxonomy)


def similarity_of(
    heights: Int64[np.ndarray, "n K"], taxonomy: Taxonomy
) -> Float[np.ndarray, "n K"]:
    """Return rows of `lcs_height_similarity` whose heights are known."""
    return np.asarray(1 - heights / max(int(taxonomy.heights[0]), 1))


def wu_palmer_similarity(
    taxonomy: Taxonomy, rows: Int64[np.ndarray, " K"]
) -> Float[np.ndarray, "K K"]:
    """Return 2 depth(lcs) / (depth(a) + depth(b)) of each pair, 1 for a class and itself.

    Wu and Palmer 1994 (arXiv:cmp-lg/9406033). With several parents the published programs
    (nltk; Barz and Denzler) take for depth(a) the depth of the lcs and the shortest way down to
    a, which depends on which of equally deep subsumers they meet first; here it is a's own depth.

    Returns:
        Values in (0, 1].
    """
    depths = taxonomy.depths[_lcs_of(taxonomy, rows)(np.arange(len(rows)))]
    own = taxonomy.depths[rows]
    return np.asarray(2 * depths / (own[:, None] + own))


def _lcs_of(taxonomy: Taxonomy, rows: Int64[np.ndarray, " K"]) -> Rows:
    """Return a function from classes to the nodes that are lcs of each of them and all K.

    Of equally deep and equally high ones it is any. A row takes one assignment a node above its
    class, no loop of pairs.
    """
    depth, height = taxonomy.depths.tolist(), taxonomy.heights.tolist()
    below: dict[int, list[int]] = defaultdict(list)
    above: list[list[int]] = []
    for place, row in enumerate(rows.tolist()):
        # What is written last stays: the deepest node, of equally deep ones the lowest.
        order = sorted(taxonomy.above(row), key=lambda node: (depth[node], -height[node]))
        above.append(order)
        for node in order:
            below[node].append(place)
    classes_below = {node: np.array(places) for node, places in below.items()}

    def rows_of(classes: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n K"]:
        found = np.zeros((len(classes), len(rows)), dtype=np.int64)
        for line, place in zip(found, classes.tolist(), strict=True):
            for node in above[place]:
                line[classes_below[node]] = node
        return found

    return rows_of


def _parents_first(above: Mapping[str, Sequence[str]], spelt: Mapping[str, str]) -> list[str]:
    try:
        return list(TopologicalSorter(above).static_order())
    except CycleError as error:
        circle = " > ".join(spelt[key] for key in error.args[1])
        raise InputError(
            f"the hierarchy runs in a circle: {circle}; cut it at one place"
        ) from error
