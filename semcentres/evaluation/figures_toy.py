"""The toy of seed note 000: points and the direction that a linear map answers to.

Dimensions: N points, D outputs of the map.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from semcentres.evaluation.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILION,
    new_figure,
    save,
    short,
)

LOOKS = ((BLUE, "o"), (ORANGE, "^"), (GREEN, "s"), (PURPLE, "D"), (VERMILION, "v"))


def response_ratio(weights: Float[np.ndarray, "D 2"]) -> float:
    """Return |response to y| / |response to x|; 0 for the projection onto x, inf onto y."""
    to_x, to_y = np.linalg.norm(weights, axis=0)
    return float(to_y / to_x) if to_x > 0 else float("inf")


def draw_toy(
    points: Float[np.ndarray, "N 2"],
    clusters: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, "D 2"],
    names: Sequence[str],
    path: Path,
) -> None:
    """Draw the points and, as an arrow, the direction of the plane to which the map answers most.

    Args:
        points: (x, y).
        clusters: of each point, rows of `names`.
        weights: of the linear map from (x, y).
        names: of the clusters.
        path: of the PNG.
    """
    figure = new_figure(6.4, 5.2)
    axes = figure.subplots()
    for cluster in np.unique(clusters):
        colour, marker = LOOKS[cluster % len(LOOKS)]
        x, y = points[clusters == cluster].T
        axes.scatter(x, y, s=9, c=colour, marker=marker, alpha=0.5, label=short(names[cluster]))
    _draw_direction(axes, weights)
    ratio = response_ratio(weights)
    axes.set_title(f"The map's response to y is {ratio:.2%} of its response to x", fontsize=11)
    axes.set(xlabel="x, which makes the clusters", ylabel="y, random, moved by the views")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="upper right", fontsize=9)
    axes.grid(alpha=0.2)
    save(figure, path)


def _draw_direction(axes: Axes, weights: Float[np.ndarray, "D 2"]) -> None:
    _, _, directions = np.linalg.svd(weights)
    x, y = directions[0] * np.sign(directions[0, 0] or 1)
    axes.annotate(
        "",
        xy=(1.6 * x, 1.6 * y),
        xytext=(0, 0),
        arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 2.5, "mutation_scale": 20},
    )
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(1.75 * x, 1.75 * y, "what the map sees", fontsize=9, va="center", bbox=box)
