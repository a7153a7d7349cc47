"""What a person sees of the verb `robustness`: one table, each number with what it is."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from semcentres.checkpoint import RunFolder

NONE_KNOWN = "no Lipschitz constant is known of this encoder"


def show(outcome: tuple[RunFolder, Mapping[str, Any]]) -> None:
    """Print accuracies under attack and certified, what is estimated, and where the files are."""
    run, results = outcome
    console = Console()
    title = f"{results['num_images']:,} {results['split']} images of {results['data']}"
    table = Table("", "norm", "radius", title=f"{title}; {results['scale']}")
    table.add_column("accuracy", justify="right")
    table.add_row("clean", "", "0", f"{results['clean_accuracy']:.3f}")
    certified = results["certified"]
    if "smoothed_accuracy" in certified:
        table.add_row("smoothed", "", "0", f"{certified['smoothed_accuracy']:.3f}")
    for kind, norm, rows in (
        ("attacked, at most", "l2", results["attacked"]["l2"]),
        ("attacked, at most", "linf", results["attacked"]["linf"]),
        ("certified, at least", "l2", certified["l2"]),
    ):
        for row in rows:
            table.add_row(kind, norm, f"{row['radius']:g}", f"{row['accuracy']:.3f}")
    console.print(table)
    estimated = results["estimated"]
    console.print(
        f"certified: by {certified['by']}, median l2 radius {certified['median']:.3g}"
        f" ({_basis(certified)})",
        soft_wrap=True,
    )
    console.print(
        f"estimated: median l2 margin {estimated['median']:.3g}, a first-order estimate and no"
        f" guarantee: attacks succeed within it for {100 * estimated['broken_by_attack']:.0f}% of"
        " the images",
        soft_wrap=True,
    )
    _views(console, results.get("views", []))
    console.print(f"results   {run.report / 'robustness.json'}", soft_wrap=True)
    console.print(f"picture   {run.report / 'robustness.png'}", soft_wrap=True)


def _basis(certified: Mapping[str, Any]) -> str:
    if certified["by"] == "smoothing":
        return (
            f"sigma {certified['sigma']:g}, {certified['samples']:,} samples after"
            f" {certified['first']:,} that choose the class, alpha {certified['alpha']:g},"
            f" abstained on {100 * certified['abstained']:.0f}%"
        )
    constant = certified["lipschitz_constant"]
    return NONE_KNOWN if constant is None else f"Lipschitz constant {constant:.3g}"


def _views(console: Console, rows: list[Mapping[str, Any]]) -> None:
    if not rows:
        return
    radius = f"l2 {rows[0]['radius']:g}"
    table = Table("views", "accuracy", "ECE", f"attacked, {radius}", "attack made for one view")
    for row in rows:
        numbers = ("accuracy", "ece", "attacked_accuracy", "attacked_through_one_view")
        table.add_row(str(row["views"]), *(f"{row[name]:.3f}" for name in numbers))
    console.print(table)
