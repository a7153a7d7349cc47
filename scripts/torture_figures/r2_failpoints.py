"""R2: kill -9 at each single call to the disk of a save, for every writer.

The calls are those that really reach the C library and change something: create, write, fsync,
rename, exchange, unlink, ... After each kill the folder is swept and read, and written again. A
trial is one call, of all if there are as many trials. The naive way is `torch.save` over the last.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from centre_builders.artefact import sweep
from torture_figures.disk_faults import arm, disarm, run_with_faults
from torture_figures.forking import Child, Tell
from torture_figures.tiny_run import temporaries
from torture_figures.writers import NAIVE, WRITERS, Writer, allowed


def run(trials: int, seed: int) -> dict[str, Any]:
    """Kill at so many calls, or all."""
    found = run_with_faults(__name__, trials)
    kills, faults = sum(found["kills"].values()), found["faults"]
    return {
        "goal": f"{kills}/{kills} recover",
        "measured": {
            "recovered": f"{kills - len(faults)}/{kills}",
            **found["kills"],
            "faults": faults[:3],
        },
        "naive": f"torch.save over the last: {found['naive']} spoilt",
        "passed": not faults and found["naive"] > 0,
    }


def main(trials: int) -> dict[str, Any]:
    """Do it in the process that the faults are loaded into."""
    kills: dict[str, int] = {}
    faults: list[str] = []
    for name, writer in WRITERS.items():
        kills[name], wrong = _kill_at_each(writer, -(-trials // len(WRITERS)))
        faults += [f"{name}, {fault}" for fault in wrong]
    return {"kills": kills, "faults": faults, "naive": len(_kill_at_each(NAIVE, 10)[1])}


def _kill_at_each(writer: Writer, most: int) -> tuple[int, list[str]]:
    """Return how many calls were killed at, the last after all, and what was wrong after which."""
    faults = []
    with writer.prepared() as (prepared, folder, new):
        calls = count(lambda: writer.write(folder, new), prepared, folder)
        chosen = [*range(0, calls, -(-calls // most)), calls]
        for at in chosen:
            renew(prepared, folder)

            def work(_: object, at: int = at) -> None:
                arm(folder, at=at)
                writer.write(folder, new)
                disarm()

            code, told = Child(work).end(timeout=600)
            if code != (0 if at == calls else -9):
                faults.append(f"call {at} of {calls}: exit code {code}, {told}")
            elif fault := _fault(writer, folder, new, told, whole=at == calls):
                faults.append(f"call {at} of {calls}: {fault}")
    return len(chosen), faults


def count(work: Callable[[], Any], prepared: Path, folder: Path, *, looking: bool = False) -> int:
    """Return how many calls some work makes, begun with what is prepared."""
    renew(prepared, folder)

    def counted(tell: Tell) -> None:
        arm(folder, looking=looking)
        work()
        tell(str(disarm()))

    code, told = Child(counted).end(timeout=600)
    if code:
        raise RuntimeError(f"without a fault: exit code {code}, {told}")
    return int(told[-1])


def renew(prepared: Path, folder: Path) -> None:
    """Put what is prepared in the place of a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared, folder)


def _fault(writer: Writer, folder: Path, new: int, told: list[str], *, whole: bool) -> str:
    """Return what is wrong with what is found, and with writing it again; nothing if nothing."""
    swept(folder)
    wanted = {new} if whole else allowed(writer)
    try:
        if (found := writer.read(folder)) not in wanted:
            return f"version {found}, wanted one of {wanted} {told}"
        if left := temporaries(folder):
            return f"left {left}"
        writer.write(folder, new)
        return "" if writer.read(folder) == new else "cannot be written again"
    except Exception as error:  # whatever a broken artefact brings about
        return f"{type(error).__name__}: {error} {told}"


def swept(folder: Path) -> None:
    """Remove what was left half written, as the next run does."""
    for parent in (folder, *[path for path in folder.rglob("*") if path.is_dir()]):
        sweep(parent)
