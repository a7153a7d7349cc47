"""What a task beyond this machine needs: memory, traffic and time, from measured constants.

    python scripts/plan_scale.py [--constants docs/plan_scale.json] [--ranks 64] [--machines 8]
    python scripts/plan_scale.py --measure --constants FILE       # of your machine; two minutes

Without --measure the plan is made from the constants of the file. What is modelled, and how, says
scripts/scale/model.py; --measure also compares the model with real runs by one process and by two.
The times are those of processes of one thread each of the measured machine; measure on yours.
"""

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
CONSTANTS = ROOT / "docs" / "plan_scale.json"
TARGETS: dict[str, dict[str, Any]] = {
    "ImageNet-21k": {"images": 14_200_000, "classes": 21_841, "passes": 90.0},
    "1 B images": {"images": 1_000_000_000, "classes": 21_841, "passes": 1.0},
}


def main() -> int:
    """Measure, if asked to, and print the plan."""
    parser = argparse.ArgumentParser(description="Plan what one machine cannot hold or do in time.")
    parser.add_argument("--measure", action="store_true", help="measure this machine first")
    parser.add_argument("--constants", type=Path, default=CONSTANTS)
    parser.add_argument("--ranks", type=int, default=64, help="processes of one thread each")
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--encoder", default="resnet50", choices=("resnet50", "small_conv"))
    parser.add_argument("--out", type=Path, help="JSON to write the plan to")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if min(asked.ranks, asked.machines) < 1 or asked.ranks % asked.machines:
        parser.error(f"{asked.ranks} ranks on {asked.machines} machines: give as many to each")
    if asked.work:
        from scale.check import work

        work(asked.work)
        return 0
    if asked.measure:
        asked.constants.write_text(json.dumps(measured(), indent=2) + "\n")
    if not asked.constants.is_file():
        parser.error(f"{asked.constants} is no file; make it by --measure")
    known = json.loads(asked.constants.read_text())
    plans = planned(known, asked)
    console = Console()
    console.print(check_table(known))
    console.print(plan_table(plans, asked))
    if asked.out:
        asked.out.write_text(json.dumps(plans, indent=2) + "\n")
    return 0


def measured() -> dict[str, Any]:
    """Return constants of this machine, and how far off the model is from real runs."""
    import torch
    from scale.check import between, checks
    from scale.constants import constants

    known: dict[str, Any] = {
        "machine_name": f"{platform.system()} {platform.machine()},"
        f" {torch.backends.cpu.get_cpu_capability()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        **constants(),
        "between": between(),
    }
    return known | {"checks": checks(known)}


def planned(known: dict[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Return the plan of each target."""
    from scale.model import Workload, plan

    plans = {}
    for name, target in TARGETS.items():
        load = Workload(
            dimension=256, encoder=asked.encoder, batch=4096, ranks=asked.ranks,
            machines=asked.machines, **target,
        )  # fmt: skip
        plans[name] = {"task": asdict(load), "needs": plan(load, known)}
    return plans


def check_table(known: dict[str, Any]) -> Table:
    """Return measured beside modelled."""
    table = Table("measured run", "processes", "measured", "modelled", "error")
    table.title = f"the model and real runs ({known['machine_name']})"
    for row in known["checks"]:
        times = (f"{1000 * row[key]:.1f} ms" for key in ("measured", "modelled"))
        table.add_row(row["what"], str(row["processes"]), *times, f"{100 * row['error']:+.0f}%")
    return table


def plan_table(plans: dict[str, Any], asked: argparse.Namespace) -> Table:
    """Return what is modelled of each target."""
    table = Table("modelled", *plans)
    table.title = (
        f"{asked.encoder}, batch 4,096 in 2 views, {asked.ranks} processes on {asked.machines}"
        " machines"
    )
    for what in next(iter(plans.values()))["needs"]:
        table.add_row(what, *(told(what, one["needs"][what]) for one in plans.values()))
    return table


def told(what: str, value: float) -> str:
    """Return a number of bytes or seconds for people."""
    if "seconds" in what:
        for unit, size in (("days", 86_400), ("hours", 3600), ("min", 60)):
            if value >= 2 * size:
                return f"{value / size:,.1f} {unit}"
        return f"{value:.3g} s"
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f} B"


if __name__ == "__main__":
    sys.exit(main())
