"""How bad mistakes are, and how well rankings follow a hierarchy of the classes.

Two published conventions bear the name of hierarchical precision; they rank different things, so
their values cannot be compared:

    of images     Barz and Denzler 2019 (arXiv:1809.09924): every image searches the
                  others, each query has its own ratio, the mean is over queries.
    of classes    Bertinetto et al. 2020 (arXiv:1912.09393): a classifier ranks the
                  classes, one ratio of sums over all images.

Both take similarities of classes by rows: from classes to their values with all K, such as
`matrix.__getitem__`, or for so many classes that no matrix is to be made
`centre_builders.taxonomy.lcs_heights_of`. They are asked for a few rows at a time.

Dimensions: N images, B queries of a block, K classes, n of them, k ranks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Int64
from scipy.integrate import trapezoid

from centre_builders.errors import InputError

RANKS = (1, 5, 10)
AHP_RANK = 250
BLOCK = 128  # classes whose rows are held at once

Distances = Callable[[Int64[np.ndarray, " n"]], Float[np.ndarray, "n K"] | Int[np.ndarray, "n K"]]
Similarities = Callable[[Int64[np.ndarray, " n"]], Float[np.ndarray, "n K"]]


@dataclass(frozen=True)
class HierarchicalRetrieval:
    """Means over queries.

    Attributes:
        precision_at: HP@k by k, in [0, 1].
        mean_average_precision: mAHP, in [0, 1 - 1/K'] with K' its number of ranks.
        ahp_rank: K'.
    """

    precision_at: dict[int, float]
    mean_average_precision: float
    ahp_rank: int


def mistake_severity(
    distances: Distances,
    predicted: Int[np.ndarray, " N"],
    labels: Int[np.ndarray, " N"],
) -> float | None:
    """Return the mean distance of the wrong predictions from the true class.

    Bertinetto et al. 2020, "hierarchical distance of a mistake". It says nothing of how many
    mistakes there are: a classifier with more and milder ones has a lower value.

    Returns:
        In the distances' unit; None where nothing is wrong.
    """
    wrong = predicted != labels
    if not wrong.any():
        return None
    return float(_pairs(distances, labels[wrong], predicted[wrong, None]).mean())


def hierarchical_distance_at(
    distances: Distances,
    ranked: Int[np.ndarray, "N k"],
    labels: Int[np.ndarray, " N"],
    *,
    ranks: Sequence[int] = RANKS,
) -> dict[int, float]:
    """Return by k the mean distance of the k first classes from the true one, over all images.

    Bertinetto et al. 2020, "average hierarchical distance of top-k". It counts right answers too,
    with a distance of 0.

    Args:
        distances: of classes, by rows.
        ranked: classes, the likeliest first; at least max(ranks) of them.
        labels: true classes.
        ranks: the k.

    Raises:
        InputError: there are fewer classes than ranks.
    """
    _check_ranks(ranks, ranked.shape[1], "classes an image")
    found = _pairs(distances, labels, ranked)
    return {rank: float(found[:, :rank].mean()) for rank in ranks}


def class_precision_at(
    similarity: Similarities,
    ranked: Int[np.ndarray, "N k"],
    labels: Int[np.ndarray, " N"],
    *,
    ranks: Sequence[int] = RANKS,
) -> dict[int, float]:
    """Return by k the hierarchical precision of ranked classes, a ratio of sums over images.

        HP@k = sum_n sum_{i<=k} sim(y_n, c_ni) / sum_n max over rankings of the same sum

    Bertinetto et al. 2020, with sim = 1 - distance / largest distance. Their program
    (making-better-mistakes at f1ab1ad, run_xent.py) divides a sum over the B images of a batch by
    a sum over the K classes; where classes are even, its value is this one times B / K.

    Args:
        similarity: of classes, by rows, in [0, 1].
        ranked: classes, the likeliest first, each once; at least max(ranks) of them.
        labels: true classes.
        ranks: the k.

    Raises:
        InputError: there are fewer classes than ranks.
    """
    _check_ranks(ranks, ranked.shape[1], "classes an image")
    found, best = _pairs(similarity, labels, ranked), np.empty((len(labels), max(ranks)))
    for rows, place, block in _blocks(similarity, labels):
        best[rows] = -np.sort(-block, axis=1)[place, : max(ranks)]
    return {k: float(found[:, :k].sum() / best[:, :k].sum()) for k in ranks}


def image_precision(
    blocks: Iterable[tuple[slice, Int64[np.ndarray, "_B _k"]]],
    labels: Int[np.ndarray, " N"],
    similarity: Similarities,
    *,
    ranks: Sequence[int] = RANKS,
    ahp_rank: int = AHP_RANK,
) -> HierarchicalRetrieval:
    r"""Return the hierarchical precision of N images that search for one another.

    With r_i the i-th neighbour of query q, itself left out:

        HP@k(q) = sum_{i<=k} sim(y_q, y_{r_i}) / max over rankings of the same sum
        AHP@K'(q) = 1/K' sum_{k<K'} (HP@k + HP@(k+1)) / 2

    Barz and Denzler 2019; the trapezoids reach from 1 to K', so that AHP is 1 - 1/K' at most, as
    in their program (semantic-embeddings at 0ec28c9, class_hierarchy.py). They take K' = 250 and
    sim = 1 - height(lcs)/height(root). Where even the best sum is 0, HP is 1.

    Args:
        blocks: queries, as rows of `labels`, and the ids of their neighbours, best first, the
            query itself left out; at least as many columns as the largest rank. Every query comes
            once; only one block is held at a time.
        labels: class of each image.
        similarity: of classes, by rows, in [0, 1].
        ranks: the k of HP@k.
        ahp_rank: K', from 2.

    Raises:
        InputError: there are too few images or neighbours, or a query is missing or comes twice.
    """
    most = max(*ranks, ahp_rank)
    _check_ranks((most,), len(labels) - 1, "other images")
    best, row = _best_sums(labels, similarity, most)
    found = np.full((len(labels), len(ranks) + 1), np.nan)
    for rows, ids in blocks:
        _check_ranks((most,), ids.shape[1], "neighbours a query")
        if not np.isnan(found[rows]).all():
            raise InputError(f"queries {rows.start} to {rows.stop} come twice; give each once")
        sums = np.cumsum(_pairs(similarity, labels[rows], labels[ids[:, :most]]), axis=1)
        most_of = best[row[rows]]
        precision = np.divide(sums, most_of, out=np.ones_like(sums), where=most_of > 0)
        area = trapezoid(precision[:, :ahp_rank], axis=1) / ahp_rank
        found[rows] = np.column_stack([precision[:, [k - 1 for k in ranks]], area])
    missing = np.flatnonzero(np.isnan(found[:, 0]))
    if missing.size:
        raise InputError(f"{missing.size} queries are missing, the first is row {missing[0]}")
    *at, average = found.mean(axis=0).tolist()
    return HierarchicalRetrieval(dict(zip(ranks, at, strict=True)), average, ahp_rank)


def _best_sums(
    labels: Int[np.ndarray, " N"], similarity: Similarities, most: int
) -> tuple[Float64[np.ndarray, "n most"], Int64[np.ndarray, " N"]]:
    """Return for a query of each class that is there the sums of its best ranking, and its row.

    They follow from the counts of the classes.
    """
    classes, row, counts = np.unique(labels, return_inverse=True, return_counts=True)
    best = np.zeros((len(classes), most))
    for start in range(0, len(classes), BLOCK):
        block = similarity(classes[start : start + BLOCK])[:, classes]
        for label, values in enumerate(block, start):
            others = counts.copy()
            others[label] -= 1
            order = np.argsort(-values, kind="stable")
            best[label] = np.cumsum(
                np.repeat(values[order], np.minimum(others[order], most))[:most]
            )
    return best, row


def _pairs(
    of: Distances, classes: Int[np.ndarray, " N"], others: Int[np.ndarray, "N k"]
) -> Float[np.ndarray, "N k"] | Int[np.ndarray, "N k"]:
    """Return the value of each class with the others beside it."""
    found = np.empty(others.shape)
    for rows, place, block in _blocks(of, classes):
        found[rows] = block[place[:, None], others[rows]]
    return found


def _blocks(
    of: Distances, classes: Int[np.ndarray, " N"]
) -> Iterator[tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " r"], np.ndarray]]:
    """Yield rows of `classes`, and the row of each one's values in a block of n x K of them."""
    unique, place = np.unique(classes, return_inverse=True)
    order = np.argsort(place, kind="stable")
    for start in range(0, len(unique), BLOCK):
        ends = np.searchsorted(place[order], (start, start + BLOCK))
        rows = order[slice(*ends)]
        yield rows, place[rows] - start, of(unique[start : start + BLOCK])


def _check_ranks(ranks: Sequence[int], there: int, what: str) -> None:
    if not 1 <= min(ranks) <= max(ranks) <= there:
        raise InputError(f"ranks {list(ranks)} of {there} {what}; wanted 1 to {there}")
