"""The scoreboard: every figure of robustness, attacked and measured, as a table and as JSON.

    python scripts/torture.py [R1 R4 ...] [--short] [--seed 0] [--out runs/torture.json]

Each figure is a module of scripts/torture_figures and runs in a process of its own, whose standard
error goes to a file beside the JSON, runs/torture.log. The exit code is 1 where one is missed.
`--short` takes as many trials as the tests do.
"""

import argparse
import importlib
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
FIGURES = {
    path.stem.partition("_")[0].upper(): path.stem
    for path in sorted((HERE / "torture_figures").glob("r[0-9]*.py"))
}
# Trials of a figure, with --short and without; what one trial is says its module.
TRIALS = {
    "R1": (8, 200), "R2": (24, 10_000), "R3": (4, 100), "R4": (5, 24), "R5": (102, 12_000),
    "R6": (1, 29),
    "R7": (40, 1000), "R8": (60, 2000), "R9": (17, 100), "R10": (27, 10_000), "R11": (1, 2),
    "R12": (8, 40), "R15": (200, 5000), "R16": (5, 60), "R17": (20, 500),
}  # fmt: skip
OTHERS = (1, 1)
TIMEOUT = 3 * 3600  # seconds; a figure that hangs has failed


def main() -> int:
    """Run what is named, or all; return the exit code."""
    asked = _arguments()
    console = Console(width=160)
    board: dict[str, Any] = {"commit": _commit(), "seed": asked.seed, **_machine(), "figures": {}}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    log = asked.out.with_suffix(".log")
    log.write_text("")
    for name in asked.names or sorted(FIGURES, key=lambda name: int(name[1:])):
        with console.status(f"{name} (what it says: {log})"), log.open("a") as errors:
            found = _measure(name, asked.seed, errors, short=asked.short)
        board["figures"][name] = found
        console.print(f"{name}: {'passed' if found['passed'] else 'MISSED'}, {found['seconds']} s")
        asked.out.write_text(json.dumps(board, indent=2) + "\n")
    console.print(_table(board))
    return int(not all(found["passed"] for found in board["figures"].values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Attack semcentres and print the scoreboard.")
    parser.add_argument("names", nargs="*", type=str.upper, help=f"of {', '.join(FIGURES)}")
    parser.add_argument("--short", action="store_true", help="as many trials as the tests take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/torture.json"))
    asked = parser.parse_args()
    if unknown := sorted(set(asked.names) - set(FIGURES)):
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    return asked


def _measure(name: str, seed: int, errors: TextIO, *, short: bool) -> dict[str, Any]:
    """Return what a figure found, in a process that cannot take this one with it."""
    trials = TRIALS.get(name, OTHERS)[0 if short else 1]
    words = [sys.executable, __file__, "--one", FIGURES[name], str(trials), str(seed)]
    began = time.monotonic()
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=TIMEOUT, check=False
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        fault = f"{type(error).__name__}: no result; see {errors.name}"
        found = {"goal": "a result", "measured": fault, "naive": None, "passed": False}
    return {"trials": trials, "seconds": round(time.monotonic() - began), **found}


def _one(stem: str, trials: str, seed: str) -> None:
    """Run one figure in this process; its result is the last line."""
    found = importlib.import_module(f"torture_figures.{stem}").run(int(trials), int(seed))
    print(json.dumps(found))


def _commit() -> str:
    words = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _machine() -> dict[str, str]:
    import torch

    return {
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _table(board: dict[str, Any]) -> Table:
    title = f"commit {board['commit']}, seed {board['seed']}, {board['machine']}"
    table = Table("", "goal", "measured", "the naive way", "trials", "s", "", title=title)
    for name, found in board["figures"].items():
        passed = "passed" if found["passed"] else "MISSED"
        told = (_told(found[key]) for key in ("goal", "measured", "naive"))
        table.add_row(name, *told, str(found["trials"]), str(found["seconds"]), passed)
    return table


def _told(value: Any) -> str:  # noqa: ANN401
    """Return a value for a cell of the table; mappings as lines."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {part}" for key, part in value.items())
    return "" if value is None else str(value)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _one(*sys.argv[2:])
    else:
        sys.exit(main())
