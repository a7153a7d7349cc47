"""A step whose loss or gradients are not finite changes nothing and is counted.

The host does not wait for the device: it decides by itself, and its counts are read where the
trainer logs.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from centre_builders.errors import NumericError
from semcentres.checkpoint import tensors_of
from semcentres.shared_weights import own

IN_A_ROW = 5  # skipped steps after which a run stops


class FiniteGuard:
    """Turn an optimiser's step into none where something is not finite.

    Args:
        fabric: what the training runs by; all of its processes skip a step together.
        optimiser: a fused one, which itself leaves weights and averages where `found_inf` is 1.
        modules: whose buffers a forward pass changes, such as running statistics.
    """

    def __init__(self, fabric: Fabric, optimiser: Optimizer, modules: Iterable[nn.Module]) -> None:
        self.fabric = fabric
        self.optimiser = optimiser
        found = [buffer for module in modules for buffer in module.buffers()]
        self.buffers = [buffer for buffer in found if buffer.is_floating_point()]
        self._kept: list[Tensor] = []
        # Skipped in all; in a row now; in the longest row; the step that row began with.
        self.counts = torch.zeros(4, dtype=torch.int64, device=fabric.device)

    def before(self) -> None:
        """Keep what the forward pass may spoil."""
        self._kept = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def judge(self, loss: Tensor, step: int) -> None:
        """Let the optimiser skip this step, after the backward pass, if it is not finite."""
        weights = (weight for group in self.optimiser.param_groups for weight in group["params"])
        gradients = [own(weight.grad) for weight in weights if weight.grad is not None]
        gradients = [gradient for gradient in gradients if gradient.numel()]
        largest = torch.nn.utils.get_total_norm(gradients, norm_type=math.inf)
        # Squared, as the optimiser's second moment will have it.
        bad = ~(largest.square().isfinite() & loss.isfinite())
        if self.fabric.world_size > 1:
            total: Any = self.fabric.all_reduce(bad.float(), reduce_op="sum")
            bad = total > 0
        # The fused optimisers read it; it is there for gradient scalers, which overwrite it.
        self.optimiser.found_inf = bad.float()  # type: ignore[attr-defined]
        for buffer, kept in zip(self.buffers, self._kept, strict=True):
            torch.where(bad, kept, buffer, out=buffer)
        skipped, row, longest, first = self.counts.unbind()
        row = (row + 1) * bad
        first = torch.where(row > longest, step + 1 - row, first)
        self.counts = torch.stack([skipped + bad, row, torch.maximum(longest, row), first])

    def read(self) -> tuple[int, int, int]:
        """Return skipped steps, the longest row of them and its first; waits for the device."""
        skipped, _, longest, first = self.counts.tolist()
        return skipped, longest, first

    def state_dict(self) -> dict[str, Tensor]:
        """Return the counts."""
        return {"counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Count on from there."""
        self.counts = state["counts"].to(self.fabric.device)


def too_many_skipped(row: int, first: int, cause: str) -> NumericError:
    """Return the error that stops a run after a row of skipped steps."""
    return NumericError(
        f"{row} steps in a row, from step {first} on, had a loss or gradients that are not finite:"
        f" {cause}; they were skipped and the last checkpoint is kept"
    )


def likely_cause(
    encoder: nn.Module, views: Mapping[str, Sequence[Tensor]], terms: Mapping[str, Tensor]
) -> str:
    """Return what is not finite, the first of weights, images, terms and gradients.

    Args:
        encoder: with its gradients.
        views: of each image of the batch, all of its views.
        terms: of the loss.
    """
    remedy = "lower trainer.learning_rate or set trainer.precision=32-true"
    batch = in_batch(views)
    for name, weight in encoder.named_parameters():
        if not own(weight).isfinite().all():
            return f"weight {name}, {batch}; {remedy}"
    images = [id_ for id_, of in views.items() if not all(view.isfinite().all() for view in of)]
    if images:
        return f"images {', '.join(images[:5])} in their views; mend or remove them"
    spoilt = [name for name, term in terms.items() if not term.isfinite()]
    if spoilt:
        return f"{', '.join(spoilt)} of the objective, {batch}; {remedy}"
    for name, weight in encoder.named_parameters():
        if weight.grad is not None and not own(weight.grad).isfinite().all():
            return f"the gradient of {name}, {batch}; {remedy}"
    return f"nothing that is found again {batch}; {remedy}"


def in_batch(views: Iterable[str]) -> str:
    """Return which batch it was, by the first of its images."""
    return f"in the batch of images {', '.join([*views][:5])}, ..."


def not_finite(state: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield the names of the tensors of a nested state that hold a number that is not finite."""
    for name, tensor in tensors_of(state):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            yield name
