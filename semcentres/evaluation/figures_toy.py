"""The toy of seed note 000: its points, and what the learnt linear map answers to.

Dimensions: N points (x_1, x_2, y), D = 2 outputs of the map, K centres.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.patches import Circle

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


def response_ratio(weights: Float[np.ndarray, "D 3"]) -> float:
    """Return the map's response to y over its least response to a direction of x.

    0 is a map that sees x alone, as the projection does; inf one that is blind to a part of x.
    """
    least = float(np.linalg.svd(weights[:, :2], compute_uv=False).min())
    return float(np.linalg.norm(weights[:, 2])) / least if least > 1e-12 else float("inf")


def draw_toy(
    points: Float[np.ndarray, "N 3"],
    clusters: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, "2 3"],
    centres: Float[np.ndarray, "K 2"],
    names: Sequence[str],
    path: Path,
) -> None:
    """Draw the points, and beside them the columns of the map as arrows among the centres.

    Args:
        points: (x_1, x_2, y).
        clusters: of each point, rows of `names`.
        weights: of the linear map.
        centres: that it was trained toward.
        names: of the clusters.
        path: of the PNG.
    """
    figure = new_figure(10.0, 4.8)
    left, right = figure.subplots(1, 2)
    for cluster in np.unique(clusters):
        colour, marker = LOOKS[cluster % len(LOOKS)]
        x, y = points[clusters == cluster][:, [0, 2]].T
        left.scatter(x, y, s=9, c=colour, marker=marker, alpha=0.5, label=short(names[cluster]))
        right.scatter(*centres[cluster], s=90, c=colour, marker=marker)
    left.set(xlabel="$x_1$, which makes the clusters", ylabel="y, random, moved by the views")
    left.set_title("The points", fontsize=11)
    left.legend(loc="upper center", ncols=3, fontsize=9, bbox_to_anchor=(0.5, -0.14))
    _draw_map(right, weights)
    save(figure, path)


def _draw_map(axes: Axes, weights: Float[np.ndarray, "2 3"]) -> None:
    """Draw each input's column of the map, the longest at length 1."""
    columns = weights.T / np.linalg.norm(weights, axis=0).max()
    for (across, up), name, colour in zip(columns, ("$x_1$", "$x_2$", "y"), "kkr", strict=True):
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.5}
        axes.annotate("", xy=(across, up), xytext=(0, 0), arrowprops=arrow)
        axes.annotate(name, (across, up), xytext=(6, 6), textcoords="offset points", color=colour)
    axes.add_patch(Circle((0, 0), 1, fill=False, color="grey", linestyle=":"))
    ratio = response_ratio(weights)
    axes.set_title(f"The learnt map: response to y is {ratio:.2%} of that to x", fontsize=11)
    axes.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    axes.set(xlabel="embedding, and the centres on its circle")
