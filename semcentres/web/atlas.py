"""Images and centres on the map.

Dimensions: n images on the map, K centres, m new ones, D width.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from semcentres.evaluation.plane import in_plane
from semcentres.indexes import AnyIndex
from semcentres.shards import Shards

MOST = 2000  # images on the map
NEIGHBOURS = 5  # among which a new centre is placed


@dataclass(frozen=True)
class Layout:
    """Places in [0, 1].

    Args:
        rows: the images on the map.
        images: their places.
        centres: places of the trained classes' centres.
    """

    rows: Int64[np.ndarray, " n"]
    images: Float[np.ndarray, "n 2"]
    centres: Float[np.ndarray, "K 2"]


def lay_out(index: AnyIndex | Shards, centres: Float[np.ndarray, "K D"]) -> Layout:
    """Return the places of at most 2,000 images, evenly spread over the rows, and of all centres.

    Args:
        index: of the images' embeddings.
        centres: unit rows.
    """
    num = min(MOST, len(index))
    rows = np.linspace(0, len(index) - 1, num).round().astype(np.int64)
    both = np.concatenate([index.rows(rows), centres])
    # Of three vectors or fewer t-SNE makes nothing.
    places = in_plane(both) if len(both) > 3 else both[:, :2].astype(np.float64)
    low, high = places.min(axis=0), places.max(axis=0)
    places = (places - low) / np.maximum(high - low, 1e-9)
    return Layout(rows, places[:num], places[num:])


def place(
    new: Float[np.ndarray, "m D"], vectors: Float[np.ndarray, "n D"], layout: Layout
) -> Float[np.ndarray, "m 2"]:
    """Return places of further centres: the mean place of the nearest images on the map.

    t-SNE has no place for a further vector without moving the others.

    Args:
        new: unit rows.
        vectors: of the images on the map.
        layout: their places.
    """
    near = np.argsort(-(new @ vectors.T), axis=1, kind="stable")[:, :NEIGHBOURS]
    return np.asarray(layout.images[near].mean(axis=1))
