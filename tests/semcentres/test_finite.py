"""A step that is not finite leaves everything as it was, and is counted."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from traceback import extract_stack
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torture_figures.tiny_run import make_trainer

from centre_builders.errors import NumericError
from semcentres.checkpoint import RunFolder
from semcentres.finite import FiniteGuard, likely_cause, not_finite
from semcentres.trainer import Trainer


class Loop:
    """The part of a training loop that the guard stands in."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        fabric = Fabric(accelerator="cpu", devices=1)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=0.1, fused=True)
        self.guard = FiniteGuard(fabric, self.optimiser, [self.model])

    def step(self, number: int, *, inputs: float = 0.0, loss: float = 1.0) -> None:
        """Do a step with something added to an input, and the loss times something."""
        rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))
        rows[2, 1] += inputs
        self.guard.before()
        found = self.model(rows).square().mean() * loss
        self.optimiser.zero_grad()
        found.backward()
        self.guard.judge(found, number)
        self.optimiser.step()

    def state(self) -> dict[str, Tensor]:
        """Return all that a step changes, but the number of batches that were seen."""
        weights = self.model.state_dict()
        del weights["1.num_batches_tracked"]
        moments = self.optimiser.state_dict()["state"]
        flat = {f"{i}.{name}": value for i, of in moments.items() for name, value in of.items()}
        return deepcopy({**weights, **flat})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", ["inputs", "loss"])
def test_bad_step_is_none(value: float, place: str) -> None:
    """Weights, moments, steps and running statistics; and the steps after it are as without it."""
    loop, without = Loop(), Loop()
    for number in (0, 1):
        loop.step(number)
        without.step(number)
    before = loop.state()
    loop.step(2, **{place: value})
    for name, now in loop.state().items():
        assert torch.equal(now, before[name]), name
    loop.step(3)
    without.step(3)
    wanted = without.state()
    for name, now in loop.state().items():
        assert torch.equal(now, wanted[name]), name
    assert loop.guard.read() == (1, 1, 2)


def test_gradients_whose_squares_overflow_are_bad_too() -> None:
    """They would make the second moment infinite, and the weight would never move again."""
    loop = Loop()
    loop.step(0, loss=1e15)
    assert loop.guard.read() == (0, 0, 0)
    loop.step(1, loss=1e25)
    assert loop.guard.read() == (1, 1, 1)
    assert all(value.isfinite().all() for value in loop.state().values())


def test_rows_of_bad_steps_are_counted_across_a_resumption() -> None:
    loop = Loop()
    for number, bad in enumerate([0, 1, 1, 0, 1]):
        loop.step(number, loss=math.nan if bad else 1.0)
    again = Loop()
    again.guard.load_state_dict(loop.guard.state_dict())
    for number, bad in enumerate([1, 1, 0, 1], start=5):
        again.step(number, loss=math.nan if bad else 1.0)
    assert again.guard.read() == (6, 3, 4)


def test_likely_cause_is_the_first_that_is_not_finite() -> None:
    model, good = nn.Linear(2, 1), torch.ones(2)
    views = {"a.png": [good, good], "b.png": [good, torch.tensor([1.0, math.inf])]}
    terms = {"loss": torch.tensor(math.nan), "fine": torch.tensor(1.0)}
    fine = {"a.png": [good]}
    model.weight.grad = torch.full((1, 2), math.nan)
    assert "the gradient of weight, in the batch of images a.png" in likely_cause(model, fine, {})
    assert "loss of the objective" in likely_cause(model, fine, terms)
    assert "images b.png in their views" in likely_cause(model, views, terms)
    model.bias.data.fill_(math.nan)
    assert "weight bias" in likely_cause(model, views, terms)


def test_names_of_what_is_not_finite() -> None:
    nan, one = torch.tensor([1.0, math.nan]), torch.ones(2)
    state = {"a": [one, {"b": nan}], "c": torch.ones(1, dtype=torch.int64), "d": "nan", "e": nan}
    assert list(not_finite(state)) == ["a.1.b", "e"]


def name_images(trainer: Trainer) -> None:
    names = tuple(f"{row}.png" for row in range(len(trainer.task.images)))
    trainer.task = replace(trainer.task, images=replace(trainer.task.images, ids=names))
    trainer.batches = replace(trainer.batches, task=trainer.task)


def is_black(images: Tensor) -> Tensor:
    return images.flatten(1).eq(0).all(dim=1)


def spoil_black(encoder: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return output.masked_fill(is_black(inputs[0])[:, None], math.nan)


def test_images_without_finite_embeddings_are_named() -> None:
    """The first five; where steps were skipped, those of the first of them."""
    trainer = make_trainer(steps=1, every=1)
    trainer.task.images.images[[3, 8, 21, 30, 44, 59]] = 0
    trainer.teacher.module.register_forward_hook(spoil_black)
    with pytest.raises(NumericError, match="^embeddings of images 3, 8, 21, 30, 44 by"):
        trainer.remember()
    name_images(trainer)
    told = "^embeddings of images 3.png, 8.png, 21.png, 30.png, 44.png by the averaged encoder"
    with pytest.raises(NumericError, match=told):
        trainer.remember()
    trainer.guard.counts = torch.tensor([4, 0, 3, 2])  # skipped, in a row, longest row, its first
    batch = ", ".join(f"{row}.png" for row in trainer.task.labelled.at(2)[:5].tolist())
    told = f"^3 steps in a row, from step 2 on.* in the batch of images {batch}, "
    with pytest.raises(NumericError, match=told):
        trainer.remember()


def test_run_that_stops_names_the_images_that_are_to_blame(tmp_path: Path) -> None:
    """Those of the first skipped step, of which each step from then on has some."""
    trainer = make_trainer(steps=20, every=100)
    odd = torch.arange(1, 20, 2)
    trainer.task.images.images[odd] = 0
    name_images(trainer)
    go_on, plain_view, at = trainer.step, trainer.task.views[0], [0]

    def step(number: int) -> dict[str, Tensor]:
        at[0] = number
        return go_on(number)

    def view(images: Tensor, *more: Any) -> Tensor:  # noqa: ANN401
        black = is_black(images)[:, None, None, None] & (at[0] >= 3)
        return plain_view(images, *more).masked_fill(black, math.inf)

    trainer.step = step  # type: ignore[method-assign]
    trainer.task.views[0] = view  # type: ignore[index]
    wrong = [row for row in trainer.task.labelled.at(3).tolist() if row % 2]
    assert 0 < len(wrong) < 6
    named = ", ".join(f"{row}.png" for row in wrong)
    told = f"^5 steps in a row, from step 3 on, .*: images {named} in their views"
    with pytest.raises(NumericError, match=told):
        trainer.fit(RunFolder(tmp_path), about={})


WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "equal",
    "masked_select",
)  # if, float(), .item(), x[mask]
COPIES = ("cpu", "numpy", "tolist")
BETWEEN = (Path(__file__).name, "_compile.py", "eval_frame.py")  # who asks and who is told of it


class Operations(TorchDispatchMode):
    """Tells of each operation that reaches torch's kernels."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.tell = tell

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        self.tell(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """Tells of each of torch's functions that Python calls: on the host a copy to it is none."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.tell = tell

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        self.tell(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


def test_host_waits_at_no_step_but_where_it_logs_or_mines(tmp_path: Path) -> None:
    """It would wait for a device if it asked for what is in a tensor; here that is counted."""
    trainer = make_trainer(steps=14, every=100)  # which mines at every fifth step
    trainer.settings = replace(trainer.settings, log_every=7, assignment_every=0)
    go_on, at, waited = trainer.step, [-1], set()

    def step(number: int) -> dict[str, Tensor]:
        at[0] = number
        return go_on(number)

    def tell(name: str) -> None:
        if name in (*WAITS, *COPIES):
            names = [Path(frame.filename).name for frame in extract_stack()]
            caller = [name for name in names if name not in BETWEEN][-1]
            # AveragedModel asks its own count of steps, which stays on the host: see below.
            if caller != "swa_utils.py":
                waited.add(at[0])

    trainer.step = step  # type: ignore[method-assign]
    with Operations(tell), Methods(tell):
        trainer.fit(RunFolder(tmp_path), about={})
    assert waited - {-1} == {0, 5, 10} | {6, 13}
    assert AveragedModel(nn.Linear(2, 2, device="meta")).n_averaged.device.type == "cpu"
