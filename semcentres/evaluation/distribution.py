"""How embeddings lie on the sphere: near their other view, spread out, near their centre.

Dimensions: N images, D columns, K centres.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from centre_builders.errors import InputError


@dataclass(frozen=True)
class ClusterEnergy:
    """The hard cluster energy of seed note 000, in squared distance, each from 0 to 4.

    Attributes:
        per_cluster: E_i, the mean of ||z - c_i||^2 over cluster i; nan for an empty one.
        sizes: images in each cluster.
        total: sum of E_i over the clusters that are not empty, the note's total.
        class_mean: the same, divided by the number of those clusters.
        sample_mean: mean over images.
    """

    per_cluster: Float64[np.ndarray, " K"]
    sizes: Int64[np.ndarray, " K"]
    total: float
    class_mean: float
    sample_mean: float

    @property
    def empty(self) -> list[int]:
        """The clusters that hold no image."""
        return np.flatnonzero(self.sizes == 0).tolist()


def alignment(
    embeddings: Float[np.ndarray, "N D"], others: Float[np.ndarray, "N D"], alpha: float = 2.0
) -> float:
    """Return the mean of ||z - z+||^alpha over pairs of views, in [0, 2^alpha]; lower is closer.

    Wang & Isola 2020 (arXiv:2005.10242), section 4.1.

    Args:
        embeddings: z, unit rows, at least one.
        others: z+, another view of the same images.
        alpha: above 0.
    """
    return float(np.mean(_lengths(embeddings - others) ** alpha))


def uniformity(embeddings: Float[np.ndarray, "N D"], t: float = 2.0, *, block: int = 1024) -> float:
    r"""Return how evenly the rows cover the sphere; lower is more even.

        log mean_{i<j} exp(-t ||z_i - z_j||^2),        in [-4 t, 0]

    Wang & Isola 2020 (arXiv:2005.10242), section 4.1; all pairs, no sample.

    Args:
        embeddings: unit rows, at least two.
        t: above 0; below 180, where the kernel of opposite rows is 0 in float64.
        block: rows compared with all later ones at once; memory is block x N.

    Raises:
        InputError: there are fewer than two rows.
    """
    num = len(embeddings)
    if num < 2:
        raise InputError(f"uniformity needs at least two embeddings, got {num}")
    starts = range(0, num, block)
    kernel_sum = math.fsum(
        _kernel_sum(embeddings[a : a + block], embeddings[a:], t) for a in starts
    )
    return math.log(kernel_sum / (num * (num - 1) / 2))


def cluster_energy(
    embeddings: Float[np.ndarray, "N D"],
    centres: Float[np.ndarray, "K D"],
    assigned: Int[np.ndarray, " N"],
) -> ClusterEnergy:
    """Return the energy of the clusters that an assignment makes.

    Args:
        embeddings: unit rows, at least one.
        centres: unit rows.
        assigned: the centre of each embedding, in [0, K): the nearest, or the label.

    Raises:
        InputError: there are no embeddings.
    """
    if len(embeddings) == 0:
        raise InputError("the cluster energy needs at least one embedding, got none")
    energies = _lengths(embeddings - centres[assigned]) ** 2
    sizes = np.bincount(assigned, minlength=len(centres))
    sums = np.bincount(assigned, energies, minlength=len(centres))
    per_cluster = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.nan)
    total, sample_mean = float(np.nansum(per_cluster)), float(energies.mean())
    return ClusterEnergy(per_cluster, sizes, total, total / int((sizes > 0).sum()), sample_mean)


def _lengths(rows: Float[np.ndarray, "N D"]) -> Float64[np.ndarray, " N"]:
    lengths: np.ndarray = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    return lengths


def _kernel_sum(rows: Float[np.ndarray, "B D"], later: Float[np.ndarray, "M D"], t: float) -> float:
    """Return the sum over pairs of a block's rows, and of these with all later rows.

    The first B of the later rows are the block itself.
    """
    kernel = np.exp(2 * t * (rows @ later.T).astype(np.float64) - 2 * t)
    own, rest = kernel[:, : len(rows)], kernel[:, len(rows) :]
    # Not own.sum() / 2, which would count every row's kernel with itself.
    return float(np.triu(own, 1).sum() + rest.sum())
