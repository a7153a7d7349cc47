"""What a task beyond this machine needs: memory, traffic and time, from measured constants.

    python scripts/plan_scale.py [--constants docs/plan_scale.json] [--ranks 64] [--machines 8]
    python scripts/plan_scale.py --measure --constants FILE       # of yours; ten minutes
    python scripts/plan_scale.py --images 500_000 --classes 3_000 [--dimension 128]  # your task

Without --measure the plan is made from the constants of the file. What is modelled, and how, says
scripts/scale/model.py; --measure also compares the model with real runs by one process and by two.
The times are those of processes of one thread each of the measured machine; measure on yours. What
is printed is Markdown.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scale.model import Workload, plan

ROOT = Path(__file__).resolve().parents[1]
CONSTANTS = ROOT / "docs" / "plan_scale.json"
# Name to images, classes, passes over them, and whether processes share the weights.
TARGETS = {
    "ImageNet-21k": (14_200_000, 21_841, 90.0, False),
    "ImageNet-21k, `trainer.shard`": (14_200_000, 21_841, 90.0, True),
    "1 B images": (1_000_000_000, 21_841, 1.0, False),
}


def main() -> int:
    """Measure, if asked to, and print the plan."""
    parser = argparse.ArgumentParser(description="Plan what one machine cannot hold or do in time.")
    parser.add_argument("--measure", action="store_true", help="measure this machine first")
    parser.add_argument("--constants", type=Path, default=CONSTANTS)
    parser.add_argument("--ranks", type=int, default=64, help="processes of one thread each")
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--encoder", default="resnet50", choices=("resnet50", "small_conv"))
    parser.add_argument("--images", type=int, help="of your task, in place of the examples'")
    parser.add_argument("--classes", type=int, help="of your task")
    parser.add_argument("--dimension", type=int, default=256, help="of the centres")
    asked = parser.parse_args()
    if (asked.images is None) != (asked.classes is None):
        parser.error("--images and --classes are of one task: give both or neither")
    sizes = (asked.images, asked.classes, asked.dimension)
    if any(size is not None and size < 1 for size in sizes):
        parser.error("--images, --classes and --dimension are 1 or more")
    if min(asked.ranks, asked.machines) < 1 or asked.ranks % asked.machines:
        parser.error(f"{asked.ranks} ranks on {asked.machines} machines: give as many to each")
    if asked.measure:
        from scale.measured import measured

        asked.constants.write_text(json.dumps(measured(), indent=1) + "\n")
    if not asked.constants.is_file():
        parser.error(f"{asked.constants} is no file; make it by --measure")
    known = json.loads(asked.constants.read_text())
    targets = TARGETS
    if asked.images is not None:
        name = f"{asked.images:,} images, {asked.classes:,} classes"
        targets = {
            f"{name}{told}": (asked.images, asked.classes, 90.0, shard)
            for told, shard in (("", False), (", `trainer.shard`", True))
        }
    loads = {
        name: Workload(
            images, classes, asked.dimension, asked.encoder, batch=4096, passes=passes,
            ranks=asked.ranks, machines=asked.machines, shard=shard,
        )
        for name, (images, classes, passes, shard) in targets.items()
    }  # fmt: skip
    print(f"Measured ({known['machine_name']}, torch {known['torch']}), and modelled:\n")
    print(check_table(known["checks"]))
    print("\nThe least and the largest error of each quantity:\n")
    print(error_table(known["checks"]))
    print(
        f"\nModelled only ({asked.encoder}, batch 4,096 in 2 views, {asked.dimension} dimensions,"
        f" {asked.ranks} processes on {asked.machines} machines; search of 10,000 queries for 20"
        " neighbours):\n"
    )
    print(plan_table({name: plan(load, known) for name, load in loads.items()}))
    return 0


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def check_table(checks: Sequence[dict[str, Any]]) -> str:
    """Return measured beside modelled."""
    head = ("", "real run", "processes", "measured", "modelled", "error")
    return markdown(
        head,
        [
            (
                row["quantity"], row["run"], str(row["processes"]),
                *(told(row["quantity"], row[key]) for key in ("measured", "modelled")),
                percent(error(row)),
            )
            for row in checks
        ],
    )  # fmt: skip


def error_table(checks: Sequence[dict[str, Any]]) -> str:
    """Return between what the errors of each quantity are, by one process and by several."""
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for row in checks:
        groups.setdefault(row["quantity"], ([], []))[row["processes"] > 1].append(error(row))

    def least_and_largest(found: list[float]) -> str:
        ends = dict.fromkeys(percent(end) for end in (min(found), max(found))) if found else "-"
        return " to ".join(ends)

    lines = [
        (quantity, str(sum(map(len, found))), *map(least_and_largest, found))
        for quantity, found in groups.items()
    ]
    return markdown(("", "real runs", "error, one process", "error, several"), lines)


def error(row: dict[str, Any]) -> float:
    """Return how far the model is from a run, as a share of what was measured."""
    return float(row["modelled"] / row["measured"] - 1)


def percent(share: float) -> str:
    """Return a share for people, without the sign of what is next to nothing."""
    return f"{share:+.0%}" if abs(share) >= 0.005 else "0%"


def plan_table(plans: dict[str, dict[str, float]]) -> str:
    """Return what is modelled of each target."""
    names = next(iter(plans.values()))
    lines = [(name, *(told(name, found[name]) for found in plans.values())) for name in names]
    return markdown(("", *plans), lines)


def told(what: str, value: float) -> str:
    """Return a number of bytes or seconds for people."""
    if "seconds" in what:
        for unit, size in (("days", 86_400), ("hours", 3600), ("min", 60), ("s", 0.5)):
            if value >= 2 * size:
                return f"{value / max(1, size):,.1f} {unit}"
        return f"{1000 * value:,.3g} ms"
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f} B"


if __name__ == "__main__":
    sys.exit(main())
