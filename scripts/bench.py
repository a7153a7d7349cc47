"""Benchmarks: semcentres against its peers and against the machine, side by side.

    bash scripts/bench.sh [NAME ...] [out=FOLDER]

Each name is a file of scripts/benchmarks and runs in a process of its own. Ratios are taken within
one process, on the same data, encoder and threads; absolute times are not comparable between
machines or runs. Writes a JSON and a figure a benchmark into the folder (runs/bench), prints
tables. The exit code is 1 where a mark is missed.
"""

import importlib
import json
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
NAMES = sorted(
    p.stem for p in (HERE / "benchmarks").glob("*.py") if p.stem not in ("__init__", "timing")
)


def main(words: list[str]) -> int:
    """Measure what is named, or all; return the exit code."""
    out = Path(next((w[4:] for w in words if w.startswith("out=")), "runs/bench"))
    chosen = [w for w in words if not w.startswith("out=")]
    unknown = sorted(set(chosen) - set(NAMES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    missed = 0
    for name in chosen or NAMES:
        path = out / f"{name}.json"
        done = subprocess.run([sys.executable, __file__, "--one", name, str(path)], check=False)
        if done.returncode:
            print(f"{name} failed with exit code {done.returncode}", file=sys.stderr)
            missed += 1
            continue
        missed += show(json.loads(path.read_text()))
    return int(missed > 0)


def measure(name: str, path: Path) -> None:
    """Run one benchmark in this process, write its JSON and its figure."""
    import torch

    report = importlib.import_module(f"benchmarks.{name}").measure()
    marks = [asdict(mark) | {"reached": mark.reached} for mark in report.marks]
    machine = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads,"
        f" {torch.backends.cpu.get_cpu_capability()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    path.write_text(json.dumps(machine | asdict(report) | {"marks": marks}, indent=2) + "\n")
    draw(report, path.with_suffix(".png"))


def draw(report: Any, path: Path) -> None:  # noqa: ANN401
    """Draw cost against the number of centres, where there are several; else a bar a side."""
    from semcentres.evaluation.canvas import BLUE, new_figure, save, styles

    figure = new_figure(6, 4)
    axes = figure.subplots()
    sizes = [size for size in report.values if not isinstance(size, str)]
    if len(sizes) > 1:
        sides = list(dict.fromkeys(side for size in sizes for side in report.values[size]))
        for side, (colour, line) in zip(sides, styles(), strict=False):
            at = [size for size in sizes if side in report.values[size]]
            cost = [report.values[size][side] for size in at]
            axes.plot(at, cost, color=colour, linestyle=line, marker="o", markersize=3, label=side)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("centres")
        axes.set_ylabel(report.unit)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    else:
        bars = {
            f"{size}: {side}" if len(report.values) > 1 else side: value
            for size, found in report.values.items()
            for side, value in found.items()
        }
        axes.barh(list(bars), list(bars.values()), color=BLUE)
        axes.invert_yaxis()
        axes.set_xlabel(report.unit)
    axes.set_title(report.title, fontsize=9, wrap=True)
    save(figure, path)


def show(found: dict[str, Any]) -> int:
    """Print a benchmark's tables and return how many marks are missed."""
    console = Console(width=140)
    table = Table("", "", found["unit"], title=f"{found['title']} ({found['machine']})")
    for size, sides in found["values"].items():
        for side, value in sides.items():
            table.add_row(size, side, f"{value:,.4g}")
    console.print(table)
    for mark in found["marks"]:
        sign = "reached" if mark["reached"] else "MISSED"
        bound = "at most" if mark["at_most"] else "at least"
        console.print(f"{sign}: {mark['what']}: {mark['value']:.3g} ({bound} {mark['limit']:g})")
    for note in found["notes"]:
        console.print(note)
    return sum(not mark["reached"] for mark in found["marks"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main(sys.argv[1:]))
