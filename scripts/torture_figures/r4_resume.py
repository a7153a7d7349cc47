"""R4: a stopped run that goes on ends with the bits of one that was not stopped.

Stopped by kill -9, SIGTERM or the time limit; as soon as a checkpoint is written or between two;
the images in memory or mapped from a file (the loop has no loader processes: all draws are
functions of (seed, step), and what is decoded is mapped); in float32 and bfloat16. A trial is one
of these 24; with each eight of them two processes of torchrun are stopped in one of the three ways.
Compared: SHA-256 of weights, averaged weights and metrics.jsonl, and the step that it goes on from.
The naive way draws views from a global generator, as loops do that save its state at no step or
only at some.
"""

import contextlib
import hashlib
import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from semcentres.interrupt import Stopped
from semcentres.randomness import generator
from semcentres.trainer import Trainer
from torture_figures import two_ranks
from torture_figures.forking import Child, Tell
from torture_figures.stopping import (
    CODES,
    EVERY,
    STEPS,
    first_step,
    goes_on_from,
    hash_of,
    limit_of,
    stop_at,
)
from torture_figures.tiny_run import make_trainer, train

WHERE = {"at a checkpoint": 8, "between two": 6}  # steps that are done
TOGETHER = (("kill -9", 8), ("SIGTERM", 6), ("max_time", 6))
Ended = tuple[int, list[str]]  # exit code; the step it began at, and hashes of what it ended with


def run(trials: int, seed: int) -> dict[str, Any]:
    """Compare so many kinds of stops, or all, with no stop."""
    import torch.utils.tensorboard  # noqa: F401  # before the forks

    ways = list(product(("32-true", "bf16-mixed"), (False, True), CODES, WHERE))
    ways = ways[:: -(-len(ways) // trials)]
    num, different = len(ways), []
    with tempfile.TemporaryDirectory() as folder:
        wholes: dict[tuple[str, bool], Ended] = {}
        for precision, mapped, how, where in ways:
            start = partial(_start, Path(folder), precision, mapped=mapped)
            name = f"{precision}, {'mapped' if mapped else 'in memory'}"
            if (precision, mapped) not in wholes:
                wholes[precision, mapped] = start(name)
            whole = wholes[precision, mapped]
            name = f"{name}, {how}, {where}"
            stopped = start(name, how=how, done=WHERE[where])
            again = start(name)
            wanted = (0, [str(goes_on_from(how, WHERE[where])), *whole[1][1:]])
            if stopped[0] != CODES[how] or again != wanted or len(whole[1]) != 3:
                different.append(f"{name}: {stopped}, {again}, {wanted}")
        ways_together = TOGETHER[: -(-num // 8)]
        together = two_ranks.compare(Path(folder), ways_together)
    equal = num - len(different)
    naive = _naive()
    return {
        "goal": f"all bitwise equal in {num} ways to stop (weights, averages, metrics), and in"
        f" {len(ways_together)} with two processes",
        "measured": {
            "equal": f"{equal}/{num}",
            "two processes": f"{len(ways_together) - len(together)}/{len(ways_together)}",
            "different": different + together,
        },
        "naive": f"views from the global generator: {'equal' if naive else 'different'} weights",
        "passed": not (different or together or naive),
    }


def _start(
    place: Path, precision: str, name: str, *, mapped: bool, how: str = "", done: int = -1
) -> Ended:
    """Train in a child."""

    def work(tell: Tell) -> None:
        file = place / "images" if mapped else None
        trainer = make_trainer(steps=STEPS, every=EVERY, precision=precision, mapped=file)
        stop_at(trainer, done, how)
        folder = place / name
        began = first_step(trainer)
        try:
            train(trainer, folder, max_seconds=limit_of(how))
        except Stopped as error:
            raise SystemExit(error.exit_code) from error
        tell(str(began[0]))
        tell(hash_of(trainer))
        tell(hashlib.sha256((folder / "metrics.jsonl").read_bytes()).hexdigest())

    return Child(work).end(timeout=600)


def _naive() -> bool:
    """Return whether a resumed run equals a whole one where noise is drawn without the step."""

    def whole(tell: Tell) -> None:
        trainer = make_trainer(steps=STEPS, every=EVERY)
        _draw_globally(trainer)
        with tempfile.TemporaryDirectory() as folder:
            train(trainer, Path(folder))
        tell(hash_of(trainer))

    def resumed(tell: Tell) -> None:
        with tempfile.TemporaryDirectory() as folder:
            first = make_trainer(steps=STEPS, every=EVERY)
            _draw_globally(first)
            _raise_at(first, WHERE["between two"])
            with contextlib.suppress(KeyboardInterrupt):
                train(first, Path(folder))
            again = make_trainer(steps=STEPS, every=EVERY)
            _draw_globally(again)
            train(again, Path(folder))
        tell(hash_of(again))

    ended = Child(whole).end(), Child(resumed).end()
    for code, told in ended:
        if code or len(told) != 1:
            raise RuntimeError(f"the naive way: exit code {code}, {told}")
    return ended[0] == ended[1]


def _draw_globally(trainer: Trainer) -> None:
    source = generator(0)

    def views(rows: torch.Tensor, step: int, stream: str) -> list[torch.Tensor]:
        del step, stream
        images = trainer.task.batch(rows)
        return [view(images, source) for view in trainer.task.views]

    object.__setattr__(trainer.batches, "_views", views)


def _raise_at(trainer: Trainer, at: int) -> None:
    go_on = trainer.step

    def raising(step: int) -> dict[str, torch.Tensor]:
        if step == at:
            raise KeyboardInterrupt
        return go_on(step)

    trainer.step = raising  # type: ignore[method-assign]
