"""A comparison in two figures: a bar a row for each measure, and accuracy against its costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from centre_builders.errors import InputError
from semcentres.evaluation.canvas import BLUE, GREY, new_figure, save, short, styles

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


def draw_race(
    names: Sequence[str],
    curves: Sequence[Sequence[Mapping[str, Spread]]],
    costs: Sequence[str],
    path: Path,
) -> None:
    """Draw the accuracy on held-out images against each cost, with a band of a deviation.

    Args:
        names: of the rows.
        curves: of each row: at each checkpoint mean and standard deviation of the costs and of
            "accuracy".
        costs: keys; each is a panel.
        path: of the PNG.
    """
    figure = new_figure(4.2 * len(costs), 4.2)
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for panel, cost in zip(panels, costs, strict=True):
        for curve, (colour, line) in zip(curves, styles(), strict=False):
            at = np.asarray([point[cost][0] for point in curve])
            mean, deviation = np.asarray([point["accuracy"] for point in curve]).T
            panel.plot(at, mean, color=colour, linestyle=line)
            panel.fill_between(
                at, mean - deviation, mean + deviation, color=colour, alpha=0.08, linewidth=0
            )
        panel.set_xlabel(cost.replace("_", " "))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy on held-out training images")
    labels = [short(name, 40) for name in names]
    figure.legend(panels[0].lines, labels, loc="outside lower center", ncols=4, fontsize=8)
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
