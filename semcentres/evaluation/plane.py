"""Unit vectors laid out in the plane.

Dimensions: N vectors, D columns.
"""

import numpy as np
from jaxtyping import Float
from sklearn.manifold import TSNE

PERPLEXITY = 30


def in_plane(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N 2"]:
    """Return a place for each vector; equal inputs give equal places on one machine.

    By t-SNE (van der Maaten and Hinton 2008) over squared distances on the sphere: what is near in
    the plane is near in fact, but long distances mean nothing.

    Args:
        vectors: unit rows, at least 4.
    """
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    layout = TSNE(init="pca", perplexity=perplexity, random_state=0)
    return np.asarray(layout.fit_transform(vectors.astype(np.float64)))
