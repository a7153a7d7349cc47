"""A comparison in one figure: a panel a measure, a bar a row, whiskers over the seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from centre_builders.errors import InputError
from semcentres.evaluation.canvas import BLUE, GREY, new_figure, save, short

COLUMNS = 3
Spread = tuple[float, float]


def draw_comparison(
    names: Sequence[str], panels: Mapping[str, Sequence[Spread | None]], path: Path
) -> None:
    """Draw every measure of every row.

    Args:
        names: of the rows.
        panels: heading of a measure to mean and standard deviation of each row; None where a
            row has no value.
        path: of the PNG.

    Raises:
        InputError: there is nothing to draw.
    """
    if not panels or not names:
        raise InputError("there is nothing to compare; no run has a result")
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(3.4 * columns + 1.2, (0.32 * len(names) + 0.9) * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, (heading, values) in enumerate(panels.items()):
        first = place % columns == 0
        _draw_panel(
            axes[place // columns, place % columns], heading, names if first else (), values
        )
    for unused in axes.ravel()[len(panels) :]:
        unused.set_visible(False)
    save(figure, path)


def _draw_panel(
    panel: Axes, heading: str, names: Sequence[str], values: Sequence[Spread | None]
) -> None:
    places = np.arange(len(values))
    means = [value[0] if value else 0.0 for value in values]
    panel.barh(places, means, color=BLUE, height=0.62)
    for place, value in enumerate(values):
        if value is None:
            panel.text(0, place, " not possible", va="center", fontsize=8, color=GREY)
            continue
        mean, spread = value
        panel.errorbar(mean, place, xerr=spread, color="black", capsize=2, linewidth=1)
        panel.annotate(
            f"{mean:.3g}", (max(mean + spread, 0), place), (4, 0), va="center", fontsize=8,
            textcoords="offset points",
        )  # fmt: skip
    panel.set_yticks(places, [short(name, 24) for name in names] or [""] * len(values), fontsize=8)
    panel.invert_yaxis()
    panel.set_title(heading, fontsize=10)
    panel.margins(x=0.18)
    panel.tick_params(labelsize=8)
    panel.locator_params(axis="x", nbins=4)
    panel.spines[["top", "right"]].set_visible(False)
