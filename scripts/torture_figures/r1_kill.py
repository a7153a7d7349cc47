"""R1: kill -9 at random moments of a real run; after each the run is begun again where it was.

A trial is one kill, after the first save and within the time that some more take. Every tenth run
begins in an empty folder. The naive way saves the same with `torch.save` over the last checkpoint.
Both save 2 million numbers more than the small run has, as a usual encoder has them.
"""

import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from centre_builders.artefact import verify_folder
from centre_builders.errors import CorruptArtefact
from semcentres.checkpoint import RunFolder
from semcentres.trainer import Trainer
from torture_figures.forking import Child, Tell
from torture_figures.tiny_run import make_trainer, temporaries, train

WINDOW = 4  # of the times that the first step with its save takes
ANEW = 10  # kills after which a folder begins empty
MORE = 2_000_000  # numbers in a checkpoint beside the state


def run(trials: int, seed: int) -> dict[str, Any]:
    """Kill so many children."""
    import torch.utils.tensorboard  # noqa: F401  # before the forks

    trainer = make_trainer(steps=1_000_000, every=1)
    with tempfile.TemporaryDirectory() as place:
        ours = _kill(trainer, Path(place) / "ours", trials, seed, save=None)
        usual = min(max(trials, 16), 60)
        naive = _kill(trainer, Path(place) / "naive", usual, seed, save=_save_naively)
    keys = ("corrupt", "lost", "temporaries")
    return {
        "goal": "0 corrupt, 0 acknowledged lost, 0 temporaries after the next start",
        "measured": ours,
        "naive": f"torch.save over the last: {naive['corrupt']} corrupt of {usual}",
        "passed": not any(ours[key] for key in keys) and naive["corrupt"] > 0,
    }


def _kill(
    trainer: Trainer,
    folder: Path,
    trials: int,
    seed: int,
    *,
    save: Callable[[Any, Path], None] | None,
) -> dict[str, int]:
    draw, acknowledged = random.Random(seed), 0
    found = {"kills": trials, "saves": 0, "corrupt": 0, "lost": 0, "temporaries": 0}
    for trial in range(trials):
        if trial % ANEW == 0:
            shutil.rmtree(folder, ignore_errors=True)
            acknowledged = 0
        child = Child(lambda tell: _train(trainer, folder, tell, save))
        child.read()
        begun = time.monotonic()
        child.read()
        time.sleep(draw.uniform(0, WINDOW) * (time.monotonic() - begun))
        _, told = child.end(signal.SIGKILL)
        steps = [int(line) for line in told if line.isdigit()]
        acknowledged = max([acknowledged, *steps])
        found["saves"] += len(steps)
        if save is None:
            _look(folder, acknowledged, found)
        elif (folder / "last.pt").exists():
            found["corrupt"] += not _loads(folder / "last.pt")
    return found


def _train(
    trainer: Trainer,
    folder: Path,
    tell: Tell,
    save: Callable[[Any, Path], None] | None,
) -> None:
    """Train, telling first that the training begins, then each step once it is saved."""
    begin, write = trainer.step, RunFolder.save_checkpoint

    def first(step: int) -> dict[str, torch.Tensor]:
        trainer.step = begin  # type: ignore[method-assign]
        tell("begins")
        return begin(step)

    def saved(run: RunFolder, state: Any, *, step: int, about: Any) -> Path:  # noqa: ANN401
        state = {**state, "more": torch.zeros(MORE)}
        if save is None:
            write(run, state, step=step, about=about)
        else:
            save(state, folder)
        tell(str(step))
        return folder

    trainer.step = first  # type: ignore[method-assign]
    RunFolder.save_checkpoint = saved  # type: ignore[method-assign]
    train(trainer, folder)


def _look(folder: Path, acknowledged: int, found: dict[str, int]) -> None:
    """Begin as the next run does, and count what is wrong."""
    run = RunFolder(folder)
    with run.lock():
        found["temporaries"] += len(temporaries(folder))
    whole = []
    for step in run.steps():
        try:
            whole.append(verify_folder(step)["about"]["step"])
        except CorruptArtefact:
            found["corrupt"] += 1
    found["lost"] += max(whole, default=0) < acknowledged


def _save_naively(state: Any, folder: Path) -> None:  # noqa: ANN401
    torch.save(state, folder / "last.pt")


def _loads(path: Path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:  # whatever a broken file brings about
        return False
    return True
