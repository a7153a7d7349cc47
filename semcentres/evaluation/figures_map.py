"""A map of the embeddings and the centres in the plane.

Dimensions: N embeddings, K centres, D columns.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.patheffects import withStroke

from semcentres.evaluation.canvas import new_figure, save, short
from semcentres.evaluation.plane import in_plane

MOST = 1000  # embeddings drawn


def draw_map(
    embeddings: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    centres: Float[np.ndarray, "K D"],
    names: Sequence[str],
    path: Path,
) -> None:
    """Draw embeddings as dots in the colour of their label, and the centres with their names.

    By `in_plane` of both together: what is near in the picture is near in fact, but long distances
    mean nothing.

    Args:
        embeddings: unit rows; evenly thinned where there are more than 1,000.
        labels: rows of `names`.
        centres: unit rows.
        names: of the classes.
        path: of the PNG.
    """
    step = -(-len(embeddings) // MOST)
    rows, labels = embeddings[::step], labels[::step]
    places = in_plane(np.concatenate([rows, centres]))
    colours = matplotlib.colormaps["tab20"](np.arange(len(names)) % 20)
    figure = new_figure(8.0, 7.0)
    axes = figure.subplots()
    across, up = places.T
    dots = slice(len(rows))
    # Few images are to be seen, and many not to hide one another.
    size = float(np.clip(14_000 / max(1, len(rows)), 7, 60))
    axes.scatter(across[dots], up[dots], s=size, c=colours[labels], alpha=0.6, linewidths=0)
    for (x, y), name, colour in zip(places[len(rows) :], names, colours, strict=True):
        axes.scatter(x, y, s=220, color=colour, marker="*", edgecolors="black", zorder=3)
        axes.annotate(
            short(name),
            (x, y),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            path_effects=[withStroke(linewidth=3, foreground="white")],
            zorder=4,
        )
    axes.set(xticks=[], yticks=[])
    axes.set_title("Embeddings, coloured by label, and the centres (stars), by t-SNE", fontsize=11)
    axes.spines[:].set_visible(False)
    save(figure, path)
