"""Several objectives in one, each with a weight that may change over the training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch, Objective
from semcentres.objectives.memory import Memory, Remembering


@dataclass(frozen=True, kw_only=True)
class Part:
    """An objective and when it counts.

    Args:
        objective: the objective.
        weight: its weight in the sum.
        start: share of the training before which it does not count, in [0, 1).
        stop: share from which it no longer counts, in (start, 1]. SuNCEt (Assran et al. 2020,
            arXiv:2006.10803) adds its supervised term to NT-Xent in this way.
        ramp: share over which its weight grows from 0 after `start`, in [0, 1].

    Raises:
        ValueError: the shares are not in that order.
    """

    objective: Objective
    weight: float = 1.0
    start: float = 0.0
    stop: float = 1.0
    ramp: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= 1:
            raise ValueError(
                f"0 <= start < stop <= 1 must hold, got start={self.start}, stop={self.stop}"
            )
        if not 0 <= self.ramp <= 1:
            raise ValueError(f"ramp must be in [0, 1], got {self.ramp}")

    def at(self, progress: float) -> float:
        """Return the weight when this share of the training is done."""
        if not self.start <= progress < self.stop:
            return 0.0
        done = progress - self.start
        return self.weight * (1.0 if done >= self.ramp else done / self.ramp)


class WeightedSum(nn.Module):
    """The sum of its parts' losses, each times its weight of the moment.

    A part of weight 0 is not computed.

    Args:
        parts: keywords of `Part`, by the names under which their terms are logged; one at least.

    Raises:
        ValueError: there is no part, or a schedule is out of order.
    """

    def __init__(self, *, parts: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__()
        if not parts:
            raise ValueError(
                "parts is empty; give one objective at least, as"
                " +objective@objective.parts.a.objective=nt_xent"
            )
        self.parts = {name: Part(**keywords) for name, keywords in parts.items()}
        found = [(name, part.objective) for name, part in self.parts.items()]
        # The modules among them, so that parameters and states are found.
        self.modules_of = nn.ModuleDict({n: o for n, o in found if isinstance(o, nn.Module)})
        self._progress = 0.0  # of the batch before; needs no restoring, it only saves work
        soft = [objective.temperature for _, objective in found]
        self.temperature = max((t for t in soft if t is not None), default=None)

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, and every active part's terms as `<part>.<term>`."""
        self._progress = batch.progress
        # Something of the graph is in it even where no part counts.
        loss = torch.cat([*batch.labelled, *batch.unlabelled]).sum() * 0
        terms: dict[str, Tensor] = {}
        for name, part in self.parts.items():
            weight = part.at(batch.progress)
            if weight:
                found = part.objective(batch)
                loss = loss + weight * found["loss"]
                terms |= {f"{name}.{term}": value for term, value in found.items()}
        return {"loss": loss, **terms}

    def before_step(self, step: int, remember: Callable[[], Memory]) -> None:
        """Hand the step on to the parts that remember and have not stopped."""
        for part in self.parts.values():
            if isinstance(part.objective, Remembering) and self._progress < part.stop:
                part.objective.before_step(step, remember)
