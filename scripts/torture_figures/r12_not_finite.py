"""R12: NaN and infinity put into the batch, the loss, a gradient or a weight at a random step.

A trial is one of these in a run of its own. Put in once, the run must finish with finite state and
one step skipped; put in from a step on, it must stop with exit code 4, naming that step and the
cause. A weight stays spoilt by itself. The naive way is the loop without the guard.
"""

import math
import random
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from centre_builders.artefact import verify_folder
from centre_builders.errors import NumericError
from semcentres.checkpoint import STATE, RunFolder
from semcentres.finite import FiniteGuard, not_finite
from semcentres.trainer import Trainer
from torture_figures.forking import Child, Tell
from torture_figures.tiny_run import make_trainer, train

STEPS, EVERY = 24, 3
CAUSES = {
    "batch": " in their views", "loss": "loss of the", "gradient": "the gradient of",
    "weight": "weight ",
}  # fmt: skip
PLACES = tuple(CAUSES)


def run(trials: int, seed: int) -> dict[str, Any]:
    """Spoil so many runs."""
    import torch.utils.tensorboard  # noqa: F401  # before the forks

    draw = random.Random(seed)
    faults: list[str] = []
    naive = 0
    for trial in range(trials):
        # Of any 8 both values and both ways at each place, of any 16 all there are.
        place, value = PLACES[trial % 4], (math.nan, math.inf)[(trial + trial // 4) % 2]
        lasting = (trial // 2 + trial // 4 + trial // 8) % 2 == 1
        step = draw.randrange(4, STEPS - 8)
        faults += _spoil(place, value, step, lasting=lasting, guarded=True)
        if trial < 4:
            naive += bool(_spoil(place, value, step, lasting=lasting, guarded=False))
    return {
        "goal": f"0 of {trials}: a non-finite state saved, a wrong step named, or an exit code",
        "measured": {"faults": len(faults), "first": faults[:3]},
        "naive": f"without the guard: {naive} of {min(4, trials)} runs spoilt",
        "passed": not faults and naive > 0,
    }


def _spoil(place: str, value: float, step: int, *, lasting: bool, guarded: bool) -> list[str]:
    """Return what is wrong after a run that is spoilt at a step."""
    with tempfile.TemporaryDirectory() as folder:

        def work(tell: Tell) -> None:
            trainer = make_trainer(steps=STEPS, every=EVERY)
            if not guarded:
                FiniteGuard.judge = lambda *_: None  # type: ignore[method-assign,assignment]
                Trainer.save = _save_all  # type: ignore[method-assign,assignment]
            _inject(trainer, place, value, step, lasting=lasting)
            try:
                train(trainer, Path(folder))
            except NumericError as error:
                tell(str(error))
                raise SystemExit(error.exit_code) from error

        code, told = Child(work).end(timeout=600)
        stops = lasting or place == "weight"
        what = f"{place} {value} at step {step}, {'lasting' if stops else 'once'}"
        faults = []
        if code != (4 if stops else 0):
            faults.append(f"{what}: exit code {code}, {told}")
        said = [f"from step {step} on", CAUSES[place], "images "]
        if stops and not all(part in " ".join(told) for part in said):
            faults.append(f"{what}: said {told}, not {said}")
        run = RunFolder(Path(folder))
        for saved in run.steps():
            verify_folder(saved)
            state = torch.load(saved / STATE, weights_only=True)
            faults += [f"{what}: saved {name}" for name in not_finite(state)]
        if not stops and guarded and run.records()[-1].get("skipped_steps") != 1:
            faults.append(f"{what}: not counted")
        return faults


def _inject(trainer: Trainer, place: str, value: float, at: int, *, lasting: bool) -> None:
    """Put a value somewhere at a step, or from it on."""
    now = -1
    begin, views = trainer.step, trainer.batches._views

    def due() -> bool:
        return now == at or (lasting and now >= at)

    def step(number: int) -> dict[str, torch.Tensor]:
        nonlocal now
        now = number
        if place == "weight" and number == at:
            with torch.no_grad():
                next(trainer.raw_encoder.parameters()).view(-1)[0] = value
        return begin(number)

    def seen(rows: torch.Tensor, number: int, stream: str) -> list[torch.Tensor]:
        made = views(rows, number, stream)
        if place == "batch" and due():
            made[0][0, 0, 0, 0] = value
        return made

    def spoilt(batch: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        terms = forward(batch)
        return terms | {"loss": terms["loss"] * value} if place == "loss" and due() else terms

    trainer.step = step  # type: ignore[method-assign]
    object.__setattr__(trainer.batches, "_views", seen)
    assert isinstance(trainer.objective, nn.Module)
    forward, trainer.objective.forward = trainer.objective.forward, spoilt
    if place == "gradient":
        weight = next(trainer.raw_encoder.parameters())
        weight.register_hook(lambda g: torch.full_like(g, value) if due() else g)


def _save_all(trainer: Trainer, run: RunFolder, *, step: int, about: Any) -> None:  # noqa: ANN401
    run.save_checkpoint(trainer._state(), step=step, about=about)
