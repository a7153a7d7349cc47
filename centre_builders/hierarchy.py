"""Centres whose cosines are the similarities of a hierarchy of the classes.

Dimensions: K classes, n new ones, d width of the centres.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular

from centre_builders.correlation import nearest_correlation
from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.taxonomy import (
    Parents,
    Placed,
    Taxonomy,
    lcs_height_similarity,
    wu_palmer_similarity,
)
from centre_builders.tree_files import place_in_file

# A least eigenvalue above this is far above rounding in float32.
SYNSET = re.compile(r".+\.n\.\d+")
POSITIVE = 1e-6
# Least eigenvalue after a projection: no two classes come nearer than a cosine of 0.99. With one
# of 0 the nearest matrix has classes that coincide (ImageNet's red wine and eggnog).
FLOOR = 0.01
SAME_GRAM = 1e-4
MANY = 10_000  # classes; a matrix of their pairs has 0.8 GB, and several are held
MEASURES = {"lcs_height": lcs_height_similarity, "wu_palmer": wu_palmer_similarity}


@dataclass(frozen=True, kw_only=True)
class Hierarchy:
    """Unit vectors whose Gram matrix is the similarity of the classes in a hierarchy.

    "Unit sphere" embedding of Barz and Denzler 2019 (arXiv:1809.09924), by Cholesky
    factorisation in place of their recursion; rows are the same. A similarity that is not
    positive definite, which happens where nodes have several parents, is first projected to the
    nearest correlation matrix with eigenvalues of 0.01 and more, and the provenance says so.

    All similarities are at least 0, so the rows share a direction, as in the paper. To remove
    their mean is possible and no longer gives the similarities: it takes away what all classes
    have in common and so moves the root's branches apart. No class can be added after it.

    Args:
        tree: CSV of child,parent or nested YAML, or child to parent; None takes WordNet's nouns.
        similarity: "lcs_height" or "wu_palmer", see `taxonomy`.
        senses: for some names the WordNet synset to take, as {"cardigan": "cardigan.n.02"}; the
            others get their most frequent noun sense.
        wordnet: folder of WordNet's files; None looks where they usually are.
    """

    tree: str | Parents | None = None
    similarity: Literal["lcs_height", "wu_palmer"] = "lcs_height"
    senses: Mapping[str, str] = field(default_factory=dict)
    wordnet: str | None = None

    def __post_init__(self) -> None:
        """Refuse a similarity that does not exist, and settings that would be ignored."""
        if self.similarity not in MEASURES:
            raise InputError(f"similarity is {self.similarity!r}, wanted {' or '.join(MEASURES)}")
        if self.tree is not None and (self.senses or self.wordnet):
            raise InputError(
                f"senses and wordnet choose in WordNet, but the tree is {self.tree!r}; leave out"
                " these or that"
            )

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return lower triangular unit rows; neither seed nor descriptions are used.

        Raises:
            InputError: the hierarchy cannot be read, or lacks a name; the message says which. Or
                there are more than 10,000 classes.
        """
        if len(names) > MANY:
            raise InputError(
                f"hierarchy compares all pairs of up to {MANY} classes, got {len(names)}; take"
                " centres=sentence or random_orthogonal"
            )
        stray = sorted(set(self.senses) - set(names))
        if stray:
            raise InputError(f"senses names {stray[0]!r}, which is no class; correct the spelling")
        placed = self.place(names)
        similarity = MEASURES[self.similarity](placed.taxonomy, placed.rows)
        gram = _positive_definite(similarity)
        change = float(np.abs(gram - similarity).max())
        source = {
            **placed.source,
            "similarity": self.similarity,
            "projected": gram is not similarity,
            "largest_change": change,
        }
        return RawCentres(cholesky(gram, lower=True), placed.texts, source)

    def extend(
        self,
        vectors: Float[np.ndarray, "K d"],
        names: Sequence[str],
        new_names: Sequence[str],
        *,
        seed: int,
        source: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Return unit rows with the similarities to the old centres and to one another.

        In the span of the old centres a row is the one of least norm that has the cosines; what
        is missing to length 1 lies in directions orthogonal to all of them, drawn by the seed.

        Raises:
            InputError: the old centres' cosines are not the hierarchy's, no dimension is left, or
                no unit vector has the similarities.
        """
        placed = self.place([*names, *new_names])
        similarity = MEASURES[self.similarity](placed.taxonomy, placed.rows)
        num, width = vectors.shape
        old = np.asarray(vectors, dtype=np.float64)
        _check_gram(old, _positive_definite(similarity[:num, :num]), names)
        if num + len(new_names) > width:
            raise InputError(
                f"{new_names[-1]!r} has no dimension left beside {num + len(new_names) - 1} centres"
                f" in {width}; build the bank anew with centres.dimension="
                f"{num + len(new_names)} or more"
            )
        axes, upper = np.linalg.qr(old.T)
        inside = solve_triangular(upper, similarity[:num, num:], trans="T").T
        rest = similarity[num:, num:] - inside @ inside.T
        drawn = np.random.default_rng([seed, num]).standard_normal((width, len(new_names)))
        fresh, _ = np.linalg.qr(drawn - axes @ (axes.T @ drawn))
        return np.asarray(inside @ axes.T + _factor(rest, new_names) @ fresh.T)

    def place(self, names: Sequence[str]) -> Placed:
        """Return where the names stand in the hierarchy.

        Raises:
            InputError: it cannot be read, or lacks a name.
        """
        if isinstance(self.tree, Mapping):
            taxonomy = Taxonomy.from_parents(self.tree)
            return Placed(taxonomy, taxonomy.rows_of(names), tuple(names), {"tree": "given"})
        if self.tree is not None:
            return place_in_file(self.tree, names)
        # Not above: it brings nltk, which a hierarchy of one's own does not need.
        from centre_builders.wordnet import place_in_wordnet

        # A class that is there already comes as the synset that it was read as.
        senses = {name: name for name in names if SYNSET.fullmatch(name)}
        return place_in_wordnet(names, senses=senses | dict(self.senses), folder=self.wordnet)


def _positive_definite(similarity: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    """Return the matrix itself, or the nearest correlation matrix where it is needed."""
    try:
        cholesky(similarity - POSITIVE * np.eye(len(similarity)), lower=True)
    except np.linalg.LinAlgError:
        return nearest_correlation(similarity, floor=FLOOR, tolerance=1e-4)
    return similarity


def _check_gram(
    old: Float[np.ndarray, "K d"], gram: Float[np.ndarray, "K K"], names: Sequence[str]
) -> None:
    off = np.abs(old @ old.T - gram)
    if off.max() > SAME_GRAM:
        first, second = np.unravel_index(off.argmax(), off.shape)
        got, wanted = float(old[first] @ old[second]), float(gram[first, second])
        raise InputError(
            f"{names[first]!r} and {names[second]!r} have a cosine of {got:.3f} in the bank and"
            f" {wanted:.3f} in the hierarchy, so nothing can be placed beside them; build the bank"
            " anew with all names, or with centres.remove_mean=false and dimensions for all"
        )


def _factor(rest: Float[np.ndarray, "n n"], names: Sequence[str]) -> Float[np.ndarray, "n n"]:
    try:
        return np.asarray(cholesky(rest, lower=True))
    except np.linalg.LinAlgError as error:
        raise InputError(
            f"no unit vectors have the hierarchy's similarities of {', '.join(map(repr, names))}"
            " to the centres that are there; build the bank anew with all names"
        ) from error
