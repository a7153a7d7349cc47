"""Training curves, one panel a quantity."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes

from centre_builders.errors import InputError
from semcentres.evaluation.canvas import BLUE, ORANGE, new_figure, save

COLUMNS = 3
SMOOTH_FROM = 60  # points above which a running mean is drawn over them
EVALUATION = "eval/"
COSTS = ("image_crops", "seconds")  # what the steps are told in beside; they grow with them


def draw_curves(records: Sequence[Mapping[str, object]], path: Path) -> None:
    """Draw the numbers of a training log against their steps, without what the steps cost.

    Args:
        records: as in metrics.jsonl: "step" and any other numbers. A quantity need not be in
            every record; those under "eval/" get a mark at each value.
        path: of the PNG.

    Raises:
        InputError: no record holds a finite number.
    """
    curves = _curves(records)
    if not curves:
        raise InputError("there are no training records to draw; train for a step at least")
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    figure = new_figure(3.6 * columns, 2.5 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (key, points) in zip(panels, curves.items(), strict=False):
        _draw_curve(panel, key, points)
    for unused in panels[len(curves) :]:
        unused.set_visible(False)
    save(figure, path)


def _curves(records: Sequence[Mapping[str, object]]) -> dict[str, Float64[np.ndarray, "n 2"]]:
    """Return the finite (step, value) pairs of each quantity, in order of first appearance."""
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float)}
        step = numbers.pop("step")
        for key, value in numbers.items():
            if math.isfinite(value) and key not in COSTS:
                points.setdefault(key, []).append((step, value))
    return {key: np.asarray(pairs, np.float64) for key, pairs in points.items()}


def _draw_curve(panel: Axes, key: str, points: Float64[np.ndarray, "n 2"]) -> None:
    steps, values = points.T
    if key.startswith(EVALUATION) or len(points) == 1:
        panel.plot(steps, values, color=ORANGE, marker="o", markersize=4)
    elif len(points) <= SMOOTH_FROM:
        panel.plot(steps, values, color=BLUE)
    else:
        panel.plot(steps, values, color=BLUE, alpha=0.3, linewidth=0.8)
        panel.plot(*_running_mean(points), color=BLUE)
    panel.set_title(_in_words(key), fontsize=10)
    panel.set_xlabel("step", fontsize=8)
    panel.ticklabel_format(useOffset=False)
    if np.ptp(values) <= 1e-6 * abs(values[0]):  # a constant, whose rounding is no news
        panel.set_ylim(values[0] - 0.5, values[0] + 0.5)
    panel.grid(alpha=0.3)
    panel.tick_params(labelsize=8)
    panel.locator_params(nbins=5)
    panel.spines[["top", "right"]].set_visible(False)


def _running_mean(points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "2 m"]:
    """Return the means over windows of a twentieth of the points."""
    window = max(2, len(points) // 20)
    sums = np.cumsum(np.vstack([np.zeros(2), points]), axis=0)
    means: np.ndarray = (sums[window:] - sums[:-window]) / window
    return means.T


def _in_words(key: str) -> str:
    name = key.removeprefix(EVALUATION).replace("_", " ").replace("/", ": ")
    return f"{name} (held out)" if key.startswith(EVALUATION) else name
