"""A contact sheet of what a search has found.

Dimensions: C channels (1 or 3), H by W pixels.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semcentres.evaluation.canvas import GREY, save, short

CELL = 1.0  # inches of a picture
PITCH_X, PITCH_Y = 1.18, 1.63  # with the gap and the words
HEADING = 0.5
COLUMNS = 6

Picture = UInt8[np.ndarray, "C H W"]


def draw_hits(
    found: Sequence[Picture],
    told: Sequence[tuple[str, str | None, float]],
    path: Path,
    *,
    title: str,
    query: Picture | None = None,
) -> None:
    """Draw pictures in rows, best first, with what is told of each.

    Args:
        found: the pictures.
        told: of each the nearest class, its label where it is known, and a cosine.
        path: of the PNG.
        title: what was searched for.
        query: its picture, before the others; None where it was no picture.
    """
    cells = [*([] if query is None else [query]), *found]
    rows, columns = math.ceil(len(cells) / COLUMNS), min(COLUMNS, len(cells))
    width, height = max(PITCH_X * columns, 3.0) + 0.2, HEADING + PITCH_Y * rows
    figure = Figure(figsize=(width, height), dpi=150)
    figure.text(0.15 / width, 1 - 0.3 / height, short(title, 40), fontsize=12, weight="bold")
    axes = [_cell(figure, place, cell) for place, cell in enumerate(cells)]
    if query is not None:
        axes[0].set_xlabel("query", fontsize=8, labelpad=3, weight="bold")
        axes[0].spines[:].set(color=GREY, linewidth=2)
    for cell, (nearest, label, cosine) in zip(axes[len(cells) - len(found) :], told, strict=True):
        lines = [short(label or nearest, 16), f"{cosine:.3f}"]
        if label not in (None, nearest):
            lines.insert(1, f"as {short(nearest, 14)}")
        cell.set_xlabel("\n".join(lines), fontsize=8, labelpad=3)
    save(figure, path)


def _cell(figure: Figure, place: int, image: Picture) -> Axes:
    width, height = figure.get_size_inches()
    row, column = divmod(place, COLUMNS)
    left, top = 0.15 + PITCH_X * column, height - HEADING - PITCH_Y * row
    cell = figure.add_axes((left / width, (top - CELL) / height, CELL / width, CELL / height))
    pixels = image.transpose(1, 2, 0)
    cell.imshow(pixels.squeeze(2) if len(image) == 1 else pixels, cmap="gray", vmin=0, vmax=255)
    cell.set(xticks=[], yticks=[])
    cell.spines[:].set(visible=False)
    return cell
