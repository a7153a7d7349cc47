"""What all pictures share: figures without global state, colours, labels that fit, whole files.

Colours are those of Okabe & Ito (https://jfly.uni-koeln.de/color/), told apart by all kinds of
colour vision; right and wrong also differ by their sign.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from centre_builders.artefact import write_file

BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
GREY = "#6E6E6E"
RIGHT, WRONG = (GREEN, "\N{CHECK MARK}"), (VERMILION, "\N{BALLOT X}")
MAX_LABELS = 40


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, its parts laid out without overlap."""
    return Figure(figsize=(width, height), dpi=150, layout="compressed")


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="png", bbox_inches="tight", pad_inches=0.15, metadata={"Software": None}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, buffer.getvalue())


def styles() -> Iterator[tuple[str, str]]:
    """Yield colours and line styles that tell many lines apart."""
    colours = (BLUE, ORANGE, GREEN, VERMILION, PURPLE)
    for line in ("-", "--", ":", "-."):
        for colour in colours:
            yield colour, line


def short(name: str, length: int = 18) -> str:
    """Return a class name as a label: cut to `length` characters, never read as a formula."""
    cut = name if len(name) <= length else name[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return cut.replace("$", r"\$")


def shown(num_classes: int) -> range:
    """Return the classes whose names are written: all, or every second, third, ... of many."""
    return range(0, num_classes, -(-num_classes // MAX_LABELS))


def name_axes(axes: Axes, names: Sequence[str], *, rows: bool = True) -> None:
    """Write class names under the columns of a matrix and, if `rows`, beside its rows."""
    ticks = shown(len(names))
    labels = [short(names[tick]) for tick in ticks]
    size = 9 if len(names) <= 20 else 7
    axes.set_xticks(ticks, labels, rotation=90, fontsize=size)
    axes.set_yticks(ticks, labels if rows else [""] * len(ticks), fontsize=size)
    axes.tick_params(length=2 if len(names) > MAX_LABELS else 0)
    axes.spines[:].set_visible(False)


def write_cells(axes: Axes, texts: Sequence[Sequence[str]], dark: np.ndarray) -> None:
    """Write a text into every cell [K K], in white where the cell is dark."""
    for (row, column), is_dark in np.ndenumerate(dark):
        axes.text(
            column,
            row,
            texts[row][column],
            ha="center",
            va="center",
            fontsize=7,
            color="white" if is_dark else "black",
        )
