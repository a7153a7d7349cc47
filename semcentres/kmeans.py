"""k-means of a whole training set, by faiss.

Dimensions: N vectors, D columns, k clusters.
"""

# torch comes first: both bring an OpenMP of their own, and the first one loaded serves both.
import torch  # noqa: F401  # isort: skip

from dataclasses import dataclass

import faiss
import numpy as np
from jaxtyping import Float32, Int64
from threadpoolctl import threadpool_limits

# It sets how faiss computes distances, for the whole process: so the clusters do not depend on
# whether anybody else has imported it.
import semcentres.index  # noqa: F401

ITERATIONS = 20
STARTS = 5  # of which the best is kept
MAX_POINTS = 1000  # a cluster: of more vectors than this times k, a random part sets the centroids


@dataclass(frozen=True)
class Clusters:
    """Vectors in clusters, each vector in that of its nearest centroid.

    Attributes:
        centroids: means of the clusters; not of unit length.
        assigned: cluster of each vector, in [0, k). A cluster may be empty.
        distances: of each vector to its centroid, not squared.
    """

    centroids: Float32[np.ndarray, "k D"]
    assigned: Int64[np.ndarray, " N"]
    distances: Float32[np.ndarray, " N"]


def kmeans(vectors: Float32[np.ndarray, "N D"], num: int, *, seed: int) -> Clusters:
    """Return the clusters of least summed squared distance that k-means finds.

    Lloyd's algorithm by `faiss.Kmeans`, with iterations, starts and points a centroid as in the
    code of Li et al. 2021 (github.com/salesforce/PCL at af7287d, main_pcl.py, `run_kmeans`). We
    start by k-means++ (Arthur & Vassilvitskii 2007): the best of five random starts there leaves
    even clear clusters merged. One thread, so that equal arguments give equal bits on a machine.

    Args:
        vectors: at least one row.
        num: clusters wanted, at least 1; there are N where that is fewer.
        seed: of the starts, in [0, 2^31).

    Returns:
        k = min(num, N) clusters.

    Raises:
        ValueError: there is no vector, one is not finite, or `num` is below 1.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    if len(vectors) == 0:
        raise ValueError(f"vectors must have at least one row, got {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError("vectors must be finite, got nan or inf")
    rows = np.ascontiguousarray(vectors)
    found = faiss.Kmeans(
        rows.shape[1],
        min(num, len(rows)),
        niter=ITERATIONS,
        nredo=STARTS,
        seed=seed,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        spherical=False,
        min_points_per_centroid=1,
        max_points_per_centroid=MAX_POINTS,
    )
    with threadpool_limits(1):
        found.train(rows)
        _, assigned = found.assign(rows)
    centroids = np.asarray(found.centroids)
    # Not faiss's own squared distances: near 0 they can be rounding alone.
    return Clusters(centroids, assigned, np.linalg.norm(rows - centroids[assigned], axis=1))
