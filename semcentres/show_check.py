"""What a person sees of a check of a data set: tables of counts, bad files, duplicates, sizes."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from semcentres.check import DataCheck
from semcentres.show_audit import literal, print_findings

MANY = 40  # classes, files or groups; of more, the first
MODES = {  # what becomes of a kind of pixels that is not plain grey or RGB
    "1": "black and white, becomes grey",
    "P": "palette, its colours are taken",
    "LA": "transparency, laid on white",
    "PA": "transparency, laid on white",
    "RGBA": "transparency, laid on white",
    "CMYK": "print colours, become RGB",
    "I;16": "16 bits, become 8",
    "I;16B": "16 bits, become 8",
    "I;16L": "16 bits, become 8",
}


def show(found: DataCheck) -> None:
    """Print what was found, and whether it is fit to train on."""
    console = Console()
    console.print(literal(f"{found.name} in {found.origin}"), soft_wrap=True)
    _print_counts(console, found)
    for name, three in (("width", found.widths), ("height", found.heights)):
        if three:
            console.print(f"{name:<11}{three[0]:,} to {three[2]:,} pixels, median {three[1]:,}")
    kinds = [f"{mode} {num:,}{_told(mode)}" for mode, num in found.modes.items()]
    if kinds:
        console.print(literal(f"modes      {', '.join(kinds)}"), soft_wrap=True)
    if found.animated:
        console.print(f"animated   {found.animated:,}, of which the first frame is taken")
    _print_lines(console, "unreadable", list(found.unreadable.values()))
    _print_lines(console, "in more than one split", [" = ".join(ids) for ids in found.duplicates])
    print_findings(console, found.findings)
    console.print("not fit to train on" if found.problems else "fit to train on")


def _told(mode: str) -> str:
    return f" ({MODES[mode]})" if mode in MODES else ""


def _print_counts(console: Console, found: DataCheck) -> None:
    splits = list(next(iter(found.counts.values())))
    table = Table("class")
    for split in splits:
        table.add_column(split, justify="right")
    # The smallest first where not all are shown: they are what fails.
    rows = list(found.counts.items())
    if len(rows) > MANY:
        rows = sorted(rows, key=lambda row: sum(row[1].values()))[:MANY]
    for name, counts in rows:
        table.add_row(literal(name), *(f"{counts[split]:,}" for split in splits))
    if len(found.counts) > MANY:
        table.add_row(f"({len(found.counts) - MANY} larger ones)", *("" for _ in splits))
    table.add_section()
    totals = [sum(counts[split] for counts in found.counts.values()) for split in splits]
    table.add_row("all", *(f"{total:,}" for total in totals))
    console.print(table)


def _print_lines(console: Console, title: str, lines: Sequence[str]) -> None:
    for line in lines[:MANY]:
        console.print(literal(f"{title}: {line}"), soft_wrap=True)
    if len(lines) > MANY:
        console.print(f"{title}: {len(lines) - MANY} more, all of them in out=FILE.json")
