"""What a person sees of predictions."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from semcentres.show_audit import literal

if TYPE_CHECKING:
    from semcentres.predicting import Predicted

NUM_ROWS = 50


def show(found: "Predicted") -> None:
    """Print the first predictions as a table, and what they rest on."""
    console = Console()
    table = Table("image", "class", "", "runner-up", "", "energy")
    for row in found.rows[:NUM_ROWS]:
        name = literal(row["class"])
        table.add_row(
            literal(str(row["image"])),
            name if row["known"] else literal(f"none of these ({row['class']})"),
            f"{row['confidence']:.3f}",
            literal(row["runner_up"]),
            f"{row['runner_up_confidence']:.3f}",
            f"{row['energy']:.3f}",
        )
    console.print(table)
    rest = len(found.rows) - NUM_ROWS
    if rest > 0:
        console.print(f"and {rest:,} more; out=FILE.csv or out=csv gives all")
    calibration, strange = found.calibration, sum(not row["known"] for row in found.rows)
    if calibration.num_images:
        console.print(
            f"{strange:,} of {len(found.rows):,} are none of the classes: energy above"
            f" {calibration.threshold:.3f}, which {calibration.rejected:.0%} of images of known"
            f" classes exceed; calibrated on {calibration.num_images:,}"
            f" {calibration.calibrated_on}",
            soft_wrap=True,
        )
