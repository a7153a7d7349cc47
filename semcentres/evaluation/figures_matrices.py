"""Pictures of K x K matrices: cosines between classes, and confusion.

Dimensions: K classes, D columns.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator

from semcentres.evaluation.canvas import BLUE, name_axes, new_figure, save, write_cells

MAX_WRITTEN = 12


def draw_gram(
    centres: Float[np.ndarray, "K _D"],
    class_means: Float[np.ndarray, "K _D"],
    names: Sequence[str],
    path: Path,
) -> None:
    """Draw the cosines between the centres beside those between the classes' mean embeddings.

    Where training worked, the second picture looks like the first.

    Args:
        centres: one row a class.
        class_means: mean embedding of each class; those of classes without images are zero or
            nan and stay white.
        names: of the classes.
        path: of the PNG.
    """
    side = _side(len(names))
    figure = new_figure(2 * side + 2.2, side + 1.6)
    figure.suptitle("Cosines between the classes", fontsize=12)
    panels = figure.subplots(1, 2)
    titles = ("of the centres", "of the mean embeddings")
    for panel, title, rows in zip(panels, titles, (centres, class_means), strict=True):
        cosines = _cosines(rows)
        image = panel.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
        panel.set_title(title, fontsize=11)
        name_axes(panel, names, rows=panel is panels[0])
        if len(names) <= MAX_WRITTEN:
            texts = [[_two_places(float(value)) for value in row] for row in cosines]
            write_cells(panel, texts, np.abs(cosines) > 0.6)
    figure.colorbar(image, ax=panels, shrink=0.8, label="cosine")
    save(figure, path)


def draw_bank(centres: Float[np.ndarray, "K D"], names: Sequence[str], path: Path) -> None:
    """Draw the cosines between the centres, as a matrix and as a histogram.

    Args:
        centres: one row a class.
        names: of the classes.
        path: of the PNG.
    """
    side = _side(len(names))
    figure = new_figure(side + 6.2, side + 1.6)
    left, right = figure.subplots(1, 2, width_ratios=(side, 3.6))
    cosines = _cosines(centres)
    image = left.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    left.set_title("Cosines between the centres", fontsize=11)
    name_axes(left, names)
    if len(names) <= MAX_WRITTEN:
        texts = [[_two_places(float(value)) for value in row] for row in cosines]
        write_cells(left, texts, np.abs(cosines) > 0.6)
    figure.colorbar(image, ax=left, shrink=0.8, label="cosine")
    right.hist(cosines[np.triu_indices(len(names), 1)], bins=40, color=BLUE)
    right.set(xlim=(-1, 1), xticks=[-1, -0.5, 0, 0.5, 1])
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlabel("cosine of a pair")
    right.set_ylabel("pairs")
    right.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def draw_confusion(matrix: Int[np.ndarray, "K K"], names: Sequence[str], path: Path) -> None:
    """Draw which classes are taken for which.

    Args:
        matrix: images by true class (row) and predicted class (column).
        names: of the classes.
        path: of the PNG.
    """
    side = _side(len(names))
    figure = new_figure(side + 2.4, side + 1.8)
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    right = np.trace(matrix) / max(matrix.sum(), 1)
    axes.set_title(f"Classes taken for one another: {right:.1%} right", fontsize=11)
    axes.set_xlabel("nearest centre")
    axes.set_ylabel("true class")
    name_axes(axes, names)
    if len(names) <= MAX_WRITTEN:
        write_cells(axes, [[str(count) for count in row] for row in matrix], share > 0.5)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    save(figure, path)


def _side(num_classes: int) -> float:
    """Return the inches of a matrix."""
    return float(np.clip(0.48 * num_classes, 2.8, 6.5))


def _cosines(rows: Float[np.ndarray, "K D"]) -> Float[np.ndarray, "K K"]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(lengths > 0, lengths, np.nan)
    return unit @ unit.T


def _two_places(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")
