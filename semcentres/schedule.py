"""How learning rate and averaged weights go with the steps."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def moving_average(
    averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor, *, decay: float
) -> None:
    """Move the averaged tensors towards the current ones, in place.

    The decay is min(decay, (1 + n) / (10 + n)) after n steps (the warm-up of TensorFlow's
    ExponentialMovingAverage), so that a short run's average forgets the first random weights.
    """
    share = 1 - ((1 + num_averaged) / (10 + num_averaged)).clamp(max=decay)
    for mean, value in zip(averaged, current, strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, share.to(mean.dtype))
        else:
            mean.copy_(value)


def learning_rate_factor(step: int, *, num_steps: int, warmup: int) -> float:
    """Return the share of the learning rate at a step: linear warm-up, then cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))
