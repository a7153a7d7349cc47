"""Stopping a training at a step: by kill -9, SIGTERM or the time limit; what it is compared by."""

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch

from semcentres.checkpoint import RunFolder
from semcentres.interrupt import OUT_OF_TIME
from semcentres.trainer import Trainer

STEPS, EVERY = 12, 4
CODES = {"kill -9": -signal.SIGKILL, "SIGTERM": 128 + signal.SIGTERM, "max_time": OUT_OF_TIME}
LIMIT = 600.0  # seconds, until `stop_at` lets the time be over


def limit_of(how: str) -> float | None:
    """Return the time limit of a run that is stopped in a way."""
    return LIMIT if how == "max_time" else None


def goes_on_from(how: str, done: int) -> int:
    """Return the step that a run goes on from; a kill saves nothing more."""
    return done // EVERY * EVERY if how == "kill -9" else done


def stop_at(trainer: Trainer, done: int, how: str) -> None:
    """Stop as soon as so many steps are done and saved; where they are not saved, within the last.

    A signal, or the end of the time, comes within the last step; it is to be done and saved.
    """
    go_on, save = trainer.step, RunFolder.save_checkpoint

    def saved(run: RunFolder, state: Any, *, step: int, about: Any) -> Path:  # noqa: ANN401
        path = save(run, state, step=step, about=about)
        if step == done:
            os.kill(os.getpid(), signal.SIGKILL)
        return path

    def stopped(step: int) -> dict[str, torch.Tensor]:
        if how == "max_time" and step == done - 1:
            signal.setitimer(signal.ITIMER_REAL, 0.01)  # the real timer, which this step outlives
            while signal.getitimer(signal.ITIMER_REAL)[0]:
                time.sleep(0.01)
        terms = go_on(step)
        if step == done - 1 and how == "SIGTERM":
            os.kill(os.getpid(), signal.SIGTERM)
        if step == done - 1 and how == "kill -9" and done % EVERY:
            os.kill(os.getpid(), signal.SIGKILL)
        return terms

    trainer.step = stopped  # type: ignore[method-assign]
    if how == "kill -9":
        RunFolder.save_checkpoint = saved  # type: ignore[method-assign]


def first_step(trainer: Trainer) -> list[int]:
    """Return a list that the first step of a trainer will be put into."""
    steps, go_on = list[int](), trainer.step

    def noted(step: int) -> dict[str, torch.Tensor]:
        if not steps:
            steps.append(step)
        return go_on(step)

    trainer.step = noted  # type: ignore[method-assign]
    return steps


def hash_of(trainer: Trainer) -> str:
    """Return a hash of weights and averaged weights."""
    digest = hashlib.sha256()
    for module in (trainer.raw_encoder, trainer.teacher):
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().data)
    return digest.hexdigest()
