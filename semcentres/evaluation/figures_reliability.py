"""How far confidences can be believed, and what more views of an image bring for their cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from semcentres.evaluation.calibration import Reliability
from semcentres.evaluation.canvas import BLUE, GREY, ORANGE, new_figure, save, styles


def draw_reliability(diagrams: Mapping[str, Reliability], path: Path) -> None:
    """Draw accuracy against confidence, a panel for each state of the confidences.

    Args:
        diagrams: "before" and perhaps "after" calibration, at least one.
        path: of the PNG.
    """
    figure = new_figure(4.0 * len(diagrams), 4.0)
    panels = figure.subplots(1, len(diagrams), squeeze=False, sharey=True)[0]
    for panel, (state, found) in zip(panels, diagrams.items(), strict=True):
        _draw_bins(panel, found)
        panel.set_title(f"{state} calibration: ECE {100 * found.error:.1f}%", fontsize=10)
    panels[0].set_ylabel("accuracy, share of images", fontsize=9)
    panels[0].legend(fontsize=8, loc="upper left", frameon=False)
    save(figure, path)


def _draw_bins(panel: Axes, found: Reliability) -> None:
    num = len(found.counts)
    middles, full = (np.arange(num) + 0.5) / num, found.counts > 0
    share = found.counts / found.counts.sum()
    panel.bar(middles, share, 0.9 / num, color=GREY, alpha=0.35, label="share of the images")
    panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--", label="perfect")
    at, accuracy = found.confidences[full], found.accuracies[full]
    panel.vlines(at, np.minimum(at, accuracy), np.maximum(at, accuracy), color=ORANGE)
    panel.plot(at, accuracy, "o", color=BLUE, markersize=5, label="accuracy", clip_on=False)
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1)
    panel.set_xlabel("confidence", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


MEASURED = {"accuracy": "accuracy", "ece": "calibration error (ECE)"}


def draw_views(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Draw accuracy and calibration error against encoder passes an image, a line an average.

    Args:
        rows: each with "average", "views", "passes" and the two measures; at least one.
        path: of the PNG.
    """
    figure = new_figure(9.0, 3.6)
    panels = figure.subplots(1, len(MEASURED))
    averages = list(dict.fromkeys(row["average"] for row in rows))
    for panel, (key, title) in zip(panels, MEASURED.items(), strict=True):
        # The first two choose the same class, so that their lines may lie upon one another.
        for average, (colour, line), size in zip(averages, styles(), (7, 4, 4), strict=False):
            points = [(row["passes"], row[key]) for row in rows if row["average"] == average]
            panel.plot(
                *np.array(points, np.float64).T, color=colour, linestyle=line, marker="o",
                markersize=size, label=str(average),
            )  # fmt: skip
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("encoder passes an image", fontsize=9)
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8, frameon=False, title="average of", title_fontsize=8)
    save(figure, path)
