"""The picture of what is certified and what attacks leave, against the size of the change."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semcentres.evaluation.canvas import BLUE, GREY, VERMILION, new_figure, save


def draw_robustness(results: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy against the radius: certified below, under attack above, the truth between.

    Args:
        results: of the verb `robustness`.
        path: of the PNG.
    """
    norms = [norm for norm in ("l2", "linf") if results["attacked"][norm]]
    figure = new_figure(4.6 * len(norms), 3.6)
    panels = figure.subplots(1, len(norms), squeeze=False, sharey=True)[0]
    certified, clean = results["certified"], results["clean_accuracy"]
    for panel, norm in zip(panels, norms, strict=True):
        lines = [("under attack: at most", results["attacked"][norm], clean, VERMILION, "o")]
        if norm == certified["norm"]:
            start = certified.get("smoothed_accuracy", clean)
            told = f"certified by {certified['by']}: at least"
            lines.append((told, certified["l2"], start, BLUE, "s"))
        for label, rows, start, colour, marker in lines:
            radii = [0.0, *(row["radius"] for row in rows)]
            shares = [start, *(row["accuracy"] for row in rows)]
            panel.plot(radii, shares, color=colour, marker=marker, markersize=4, label=label)
        panel.axhline(clean, color=GREY, linewidth=0.8, linestyle="--", label="clean")
        panel.set_title(f"{norm} norm of the change", fontsize=10)
        panel.set_xlabel("radius", fontsize=9)
        panel.set_ylim(0, 1)
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=8, frameon=False)
    panels[0].set_ylabel("accuracy", fontsize=9)
    figure.suptitle(results["scale"], fontsize=9)
    save(figure, path)
