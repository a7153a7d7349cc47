"""The picture of what separating centres costs in meaning."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from centre_builders.errors import InputError
from centre_builders.trade_off import Point
from semcentres.evaluation.canvas import BLUE, GREY, ORANGE, VERMILION, new_figure, save

MEASURES = (
    ("gram_error", "error of the cosines (rms)", BLUE),
    ("rank_correlation", "rank correlation with the wanted cosines", ORANGE),
)


def draw_trade_off(points: Sequence[Point], path: Path, *, asked: float | None = None) -> None:
    """Draw fidelity to the wanted cosines against the largest cosine that was reached.

    Args:
        points: of one trade-off; a rank correlation of None is left out.
        path: of the PNG.
        asked: the cap of the bank, marked if given.

    Raises:
        InputError: there is no point.
    """
    if not points:
        raise InputError("there is no point of a trade-off to draw; give one cap at least")
    figure = new_figure(8.6, 3.8)
    figure.suptitle("What separating the centres costs in meaning", fontsize=12)
    panels = figure.subplots(1, 2)
    for panel, (measure, title, colour) in zip(panels, MEASURES, strict=True):
        _draw_measure(panel, points, measure, colour)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("largest cosine of two centres (left: further apart)", fontsize=9)
        if asked is not None:
            panel.axvline(asked, color=GREY, linestyle=":", linewidth=1)
            right = asked > np.mean(panel.get_xlim())  # the words are on the side with more room
            panel.annotate(
                f"asked: {asked:g}",
                (asked, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if right else 4, 0),
                textcoords="offset points",
                ha="right" if right else "left",
                fontsize=8,
                color=GREY,
            )
    save(figure, path)


def draw_recorded(source: Mapping[str, Any], path: Path) -> None:
    """Draw the trade-off that a bank's builder recorded, if it is one that records one.

    Args:
        source: what the builder wrote of its source.
        path: of the PNG.
    """
    if "trade_off" in source:
        points = [Point(**point) for point in source["trade_off"]]
        draw_trade_off(points, path, asked=source["reached"]["cap"])


def _draw_measure(panel: Axes, points: Sequence[Point], measure: str, colour: str) -> None:
    ordered = sorted(points, key=lambda point: point.largest_cosine)
    known = [point for point in ordered if getattr(point, measure) is not None]
    values = [getattr(point, measure) for point in known]
    look: dict[str, Any] = {"clip_on": False, "zorder": 3}
    panel.plot([p.largest_cosine for p in known], values, color=colour, marker="o", **look)
    for point, value in zip(known, values, strict=True):
        if point.cap is None:
            look |= {"color": VERMILION, "linestyle": "", "label": "no cap"}
            panel.plot(point.largest_cosine, value, marker="s", **look)
            panel.legend(fontsize=8, framealpha=1, edgecolor="none", loc="center right")
    if measure == "gram_error":
        panel.set_ylim(0, None)
    else:
        panel.set_ylim(math.floor(10 * min([0.95, *values])) / 10, 1)
    panel.grid(alpha=0.3)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
