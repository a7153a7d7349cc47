"""R4: a stopped run that goes on ends with the bits of one that was not stopped.

Stopped by kill -9, SIGTERM or the time limit; at a checkpoint's step or between two; the images in
memory or mapped from a file (the loop has no loader processes: all draws are functions of (seed,
step), and what is decoded is mapped); in float32 and bfloat16. Compared by SHA-256: weights,
averaged weights and metrics.jsonl. A trial is one of these 24. The naive way draws views from a
global generator, as loops do that save its state at no step or only at some.
"""

import contextlib
import hashlib
import os
import signal
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from semcentres.interrupt import OUT_OF_TIME, Stopped
from semcentres.randomness import generator
from semcentres.trainer import Trainer
from torture_figures.forking import Child, Tell
from torture_figures.tiny_run import make_trainer, train

STEPS, EVERY = 12, 4
WHERE = {"at a checkpoint": 8, "between two": 6}
CODES = {"kill -9": -signal.SIGKILL, "SIGTERM": 128 + signal.SIGTERM, "max_time": OUT_OF_TIME}
LIMIT = 0.3  # seconds
Ended = tuple[int, list[str]]  # exit code, and hashes of what it ended with


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
            stopped = start(name, how=how, at=WHERE[where] - 1)
            again = start(name)
            if stopped[0] != CODES[how] or again != whole or whole[0] != 0:
                different.append(f"{name}: {stopped}, {again}, {whole}")
    equal = num - len(different)
    naive = _naive()
    return {
        "goal": f"all bitwise equal in {num} ways to stop (weights, averages, metrics)",
        "measured": {"equal": f"{equal}/{num}", "different": different},
        "naive": f"views from the global generator: {'equal' if naive else 'different'} weights",
        "passed": equal == num and not naive,
    }


def _start(
    place: Path, precision: str, name: str, *, mapped: bool, how: str = "", at: int = -1
) -> Ended:
    """Train in a child."""

    def work(tell: Tell) -> None:
        file = place / "images" if mapped else None
        trainer = make_trainer(steps=STEPS, every=EVERY, precision=precision, mapped=file)
        _stop_at(trainer, at, how)
        folder = place / name
        try:
            train(trainer, folder, max_seconds=LIMIT if how == "max_time" else None)
        except Stopped as error:
            raise SystemExit(error.exit_code) from error
        tell(_hash(trainer))
        tell(hashlib.sha256((folder / "metrics.jsonl").read_bytes()).hexdigest())

    return Child(work).end(timeout=600)


def _stop_at(trainer: Trainer, at: int, how: str) -> None:
    """Let the signal or the end of the time come within a step."""
    go_on = trainer.step

    def stopped(step: int) -> dict[str, torch.Tensor]:
        if step == at and how == "kill -9":
            os.kill(os.getpid(), signal.SIGKILL)
        if step == at and how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        if how == "max_time":
            # The timer is the real one: the steps before wait for none, this one outlives it.
            while step == at and signal.getitimer(signal.ITIMER_REAL)[0]:
                time.sleep(0.01)
            if step < at:
                signal.setitimer(signal.ITIMER_REAL, LIMIT)
        return go_on(step)

    trainer.step = stopped  # type: ignore[method-assign]


def _hash(trainer: Trainer) -> str:
    digest = hashlib.sha256()
    for module in (trainer.raw_encoder, trainer.teacher):
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().data)
    return digest.hexdigest()


def _naive() -> bool:
    """Return whether a resumed run equals a whole one where noise is drawn without the step."""

    def whole(tell: Tell) -> None:
        trainer = make_trainer(steps=STEPS, every=EVERY)
        _draw_globally(trainer)
        with tempfile.TemporaryDirectory() as folder:
            train(trainer, Path(folder))
        tell(_hash(trainer))

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
        tell(_hash(again))

    return Child(whole).end() == Child(resumed).end()


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
