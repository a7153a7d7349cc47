"""R10: the Nth call to the disk fails, for every N of a write and of a read, with three errors.

EIO, ENOSPC and EACCES; calls of every kind that reach the C library (open, create, write, fsync,
rename, exchange, read, unlink, list, stat, lock, map, truncate). The old state or the new one must
be there, with exit code 5 (or 3 for what cannot be read, or 0 where the call did not matter and the
new state is there), and the message must name a path. A read that fails must be refused, or give
what is there: to begin with nothing would be a loss. `trials` is how many calls are tried at most,
evenly spread. The naive way is `torch.save` over the last.
"""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torture_figures.disk_faults import arm, run_with_faults
from torture_figures.r2_failpoints import count
from torture_figures.r9_disk_full import spoil, training
from torture_figures.writers import NAIVE, WRITERS, Writer, allowed

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)


def run(trials: int, seed: int) -> dict[str, Any]:
    """Let so many calls fail, or all."""
    found = run_with_faults(__name__, trials)
    num, faults = found["calls"], found["faults"]
    return {
        "goal": f"{num}/{num}: old or new state whole, documented exit code, a path named",
        "measured": {"right": f"{num - len(faults)}/{num}", "faults": faults[:3]},
        "naive": f"torch.save over the last: wrong after {found['naive']} calls",
        "passed": not faults and found["naive"] > 0,
    }


def main(trials: int) -> dict[str, Any]:
    """Do it in the process that the faults are loaded into."""
    writers = {**WRITERS, "training": training()}
    num, faults = 0, []
    for name, writer in writers.items():
        calls, wrong = _fail_each(writer, -(-trials // len(writers)))
        num += calls
        faults += [f"{name}, {fault}" for fault in wrong]
    return {"calls": num, "faults": faults, "naive": len(_fail_each(NAIVE, 30)[1])}


def _fail_each(writer: Writer, most: int) -> tuple[int, list[str]]:
    """Return how many calls were let fail, and what was wrong after which."""
    faults, num = [], 0
    with writer.prepared() as (prepared, folder, new):
        written = count(lambda: writer.write(folder, new), prepared, folder, looking=True)
        cases = [("write", at, number) for at in range(written) for number in ERRORS]
        if writer.before:
            read = count(lambda: writer.read(folder), prepared, folder, looking=True)
            cases += [("read", at, errno.EIO) for at in range(read)]
        for what, at, number in cases[:: -(-len(cases) // most)]:
            num += 1
            arming = lambda at=at, number=number: arm(folder, at=at, number=number, looking=True)  # noqa: E731
            if what == "write":
                code, told = spoil(writer, prepared, folder, new, arming)
            else:
                code, told = _read(writer, prepared, folder, arming)
            if fault := _fault(writer, folder, what, code, " ".join(told)):
                faults.append(f"{what}, call {at}, {errno.errorcode[number]}: {fault}")
    return num, faults


def _read(
    writer: Writer, prepared: Path, folder: Path, arming: Callable[[], None]
) -> tuple[int, list[str]]:
    reader = Writer(lambda place, _: _wanted(writer.read(place), writer), writer.read)
    return spoil(reader, prepared, folder, 0, arming)


def _wanted(found: int, writer: Writer) -> None:
    if found not in writer.before:
        raise RuntimeError(f"version {found} is read of {writer.before}")


def _fault(writer: Writer, folder: Path, what: str, code: int, told: str) -> str:
    if code not in (0, 3, 5):
        return f"exit code {code}, {told}"
    if code and str(folder) not in told:
        return f"no path in: {told}"
    wanted = allowed(writer) if code else {max(allowed(writer))}
    try:
        if what == "write" and (found := writer.read(folder)) not in wanted:
            return f"version {found}, wanted one of {wanted}"
    except Exception as error:  # whatever a broken artefact brings about
        return f"{type(error).__name__}: {error}"
    return ""
