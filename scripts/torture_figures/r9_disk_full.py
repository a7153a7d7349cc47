"""R9: the disk is full after so many bytes of a save, for every writer and for a whole training.

A trial is one place at which the room ends, spread over what a save writes; a write gets what room
there is, as from the kernel, and the next one ENOSPC. The naive way is `torch.save` over the last.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semcentres.cli import guarded
from torture_figures.disk_faults import arm, disarm, room_left, run_with_faults
from torture_figures.forking import Child, Tell
from torture_figures.r2_failpoints import renew
from torture_figures.tiny_run import make_trainer, temporaries, train
from torture_figures.writers import NAIVE, WRITERS, Writer, allowed

STEPS = 3
MUCH = 1 << 40  # bytes that are room enough
# What is said is the need of one file or folder: these write several, or remove some by the way.
PARTS = {"model", "embeddings", "training", "index, on disk"}


def run(trials: int, seed: int) -> dict[str, Any]:
    """Let the room end at so many places."""
    found = run_with_faults(__name__, trials)
    faults = found["faults"]
    return {
        "goal": f"{trials}/{trials}: the old state whole, exit code 5, path, need and free space",
        "measured": {"right": f"{trials - len(faults)}/{trials}", "faults": faults[:3]},
        "naive": f"torch.save over the last: old state gone in {found['naive']} of 10",
        "passed": not faults and found["naive"] > 0,
    }


def main(trials: int) -> dict[str, Any]:
    """Do it in the process that the faults are loaded into."""
    writers = {**WRITERS, "training": training()}
    faults: list[str] = []
    for number, (name, writer) in enumerate(writers.items()):
        own = len(range(number, trials, len(writers)))
        faults += [f"{name}, {fault}" for fault in _fill(writer, own, whole=name not in PARTS)]
    return {"faults": faults, "naive": len(_fill(NAIVE, 10, whole=True))}


def training() -> Writer:
    """Return a whole training as a writer, whose version is 0 before its first checkpoint."""
    import torch.utils.tensorboard  # noqa: F401  # before the forks

    def write(folder: Path, _: int) -> None:
        train(make_trainer(steps=STEPS, every=1), folder)

    def read(folder: Path) -> int:
        steps = sorted((folder / "checkpoints").glob("step-*"))
        return int(steps[-1].name[-8:]) and _verified(steps[-1]) if steps else 0

    return Writer(write, read, absent=True)


def _verified(folder: Path) -> int:
    from centre_builders.artefact import verify_folder

    return int(verify_folder(folder)["about"]["step"] > 0)


def _fill(writer: Writer, trials: int, *, whole: bool) -> list[str]:
    """Return what was wrong, and after how many bytes of room."""
    faults = []
    with writer.prepared() as (prepared, folder, new):
        needed = _bytes(writer, prepared, folder, new)
        for trial in range(trials):
            room = needed * (2 * trial + 1) // (2 * trials)  # the middle of a share, never 0
            code, told = spoil(
                writer,
                prepared,
                folder,
                new,
                lambda: arm(folder, room=room),  # noqa: B023
            )
            said = re.search(r"at least ([\d,]+) bytes needed", " ".join(told))
            if whole and said and int(said[1].replace(",", "")) <= room:
                faults.append(f"room for {room} of {needed} bytes: said {said[0]}")
            elif fault := _fault(writer, folder, code, " ".join(told)):
                faults.append(f"room for {room} of {needed} bytes: {fault}")
    return faults


def spoil(
    writer: Writer, prepared: Path, folder: Path, new: int, arming: Callable[[], None]
) -> tuple[int, list[str]]:
    """Write a version over what is prepared; return the exit code and the message."""
    renew(prepared, folder)

    def work(tell: Tell) -> None:
        from semcentres import cli

        cli._complain = _telling(tell)
        arming()
        code = guarded(lambda: writer.write(folder, new), [])
        disarm()
        raise SystemExit(code)

    return Child(work).end(timeout=600)


def _telling(tell: Tell) -> Callable[[str, int], int]:
    def complain(message: str, code: int) -> int:
        tell(message)
        return code

    return complain


def _bytes(writer: Writer, prepared: Path, folder: Path, new: int) -> int:
    """Return how many bytes a save writes."""
    renew(prepared, folder)

    def work(tell: Tell) -> None:
        arm(folder, room=MUCH)
        writer.write(folder, new)
        tell(str(MUCH - room_left()))

    code, told = Child(work).end(timeout=600)
    if code:
        raise RuntimeError(f"without a fault: exit code {code}, {told}")
    return int(told[-1])


def _fault(writer: Writer, folder: Path, code: int, told: str) -> str:
    if code != 5:
        return f"exit code {code}, {told}"
    lacking = [word for word in (str(folder), "bytes needed", "free") if word not in told]
    if lacking:
        return f"not said: {lacking}, said: {told}"
    try:
        if writer.read(folder) not in allowed(writer):
            return "another state than the old one"
    except Exception as error:  # whatever a broken artefact brings about
        return f"{type(error).__name__}: {error}"
    return f"left {left}" if (left := temporaries(folder)) else ""
