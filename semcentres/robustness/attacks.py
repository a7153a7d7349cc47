"""Attacks by gradient: inputs nearby whose class is another one.

What an attack finds is real; what it does not find may be there all the same. Accuracy under
attack is therefore an upper bound of the accuracy in the worst case.

Dimensions: B or N inputs, C channels, HW their pixels (none of plain vectors), K classes.
"""

from collections.abc import Callable
from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semcentres.randomness import generator

# Inputs [B ...] to the scores [B K] whose largest is the class; differentiable.
Scores = Callable[[Tensor], Tensor]
# Scores [B K] and labels [B] to what an attack makes small [B].
Loss = Callable[[Tensor, Tensor], Tensor]

STRIDE = 2.5  # radii that all steps together may go, as Madry et al. choose for CIFAR-10
SHARPNESS = 10.0  # of probabilities made of cosines
BLOCK = 256  # inputs that are attacked at a time
TINY = 1e-12  # a gradient as short as that has no direction


class Norm(StrEnum):
    """How the size of a change is measured.

    Attributes:
        L2: root of the sum of squares.
        LINF: largest absolute value.
    """

    L2 = "l2"
    LINF = "linf"


def gap(scores: Float[Tensor, "B K"], labels: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Return the score of the labelled class less the largest other; below 0 where it is wrong.

    Args:
        scores: of two classes at least.
        labels: column of each input's class.
    """
    own = scores.gather(1, labels[:, None])
    others = scores.scatter(1, labels[:, None], -torch.inf)
    return own.squeeze(1) - others.amax(dim=1)


def likelihood(scores: Float[Tensor, "B K"], labels: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Return the log-probability of the labelled class, the scores being cosines."""
    return (SHARPNESS * scores).log_softmax(dim=1).gather(1, labels[:, None]).squeeze(1)


def attack(
    scores: Scores,
    inputs: Float[Tensor, "B C *HW"],
    labels: Int[Tensor, " B"],
    *,
    norm: Norm,
    radius: float | Float[Tensor, " B"],
    steps: int,
    loss: Loss = gap,
    draws: torch.Generator | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Float[Tensor, "B C *HW"]:
    """Return, of the inputs on the way of projected gradient descent, those of the least gap.

    Madry et al. 2018 (arXiv:1706.06083), section 2.1, who descend `likelihood`; the gap is the loss
    f_6 of Carlini & Wagner 2017 (arXiv:1608.04644), whose gradient does not fade where the scores
    are sure. One step of `Norm.LINF` from the inputs themselves is the fast gradient sign method
    (Goodfellow et al. 2015, arXiv:1412.6572).

    Args:
        scores: inputs to the scores of the classes.
        inputs: where it starts.
        labels: column of the class that is to be left.
        norm: of the change.
        radius: largest change, at least 0; of all inputs, or of each.
        steps: of the descent, at least 1.
        loss: what is descended: `gap` or `likelihood`.
        draws: of a random start within the radius; None starts at the inputs.
        bounds: least and largest value of an input; None has none.

    Returns:
        Inputs no further than the radius from those given, within the bounds, detached.
    """
    reach = _each(torch.as_tensor(radius, dtype=inputs.dtype, device=inputs.device), inputs)
    stride = reach * min(1.0, STRIDE / steps)
    start = torch.zeros_like(inputs) if draws is None else _draw(inputs, norm, draws)
    moved = _bounded(inputs + reach * start, bounds)
    worst, least = inputs.detach(), torch.full_like(inputs.flatten(1)[:, 0], torch.inf)
    for step in range(steps + 1):
        moved.requires_grad_(step < steps)
        with torch.set_grad_enabled(step < steps):
            found = scores(moved)
            gaps = gap(found, labels)
        worse = gaps.detach() < least
        least = torch.where(worse, gaps.detach(), least)
        worst = torch.where(_each(worse, inputs), moved.detach(), worst)
        if step < steps:
            # Of the inputs alone: the gradients of the weights are the training's.
            (slope,) = torch.autograd.grad(loss(found, labels).sum(), moved)
            change = moved.detach() - stride * _steepest(slope, norm) - inputs
            moved = _bounded(inputs + _project(change, norm, reach), bounds)
    return worst


def least_gap(
    scores: Scores,
    inputs: Float[Tensor, "N C *HW"],
    labels: Int[Tensor, " N"],
    *,
    norm: Norm,
    radius: float | Float[Tensor, " N"],
    steps: int,
    seed: int,
    starts: int = 2,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    judge: Scores | None = None,
) -> Float[Tensor, " N"]:
    """Return the least gap of each input that several attacks find; below 0 one has succeeded.

    Args:
        scores: inputs to the scores of the classes.
        inputs: where they start; any number.
        labels: column of the class that is to be left.
        norm: of the change.
        radius: largest change, at least 0; of all inputs, or of each.
        steps: of each attack.
        seed: of the random starts.
        starts: attacks; the first starts at the inputs, the others within the radius. Every
            second one descends the likelihood in place of the gap: neither is always the better.
        bounds: least and largest value of an input; None has none.
        judge: scores whose gap is returned; None takes those that are attacked.
    """
    judge = scores if judge is None else judge
    reach = torch.as_tensor(radius, dtype=inputs.dtype, device=inputs.device).expand(len(inputs))
    found = []
    for number, rows in enumerate(torch.arange(len(inputs)).split(BLOCK)):
        least = torch.full((len(rows),), torch.inf, dtype=inputs.dtype, device=inputs.device)
        for start in range(starts):
            draws = generator(seed, "attack", number, start, device=inputs.device)
            moved = attack(
                scores,
                inputs[rows],
                labels[rows],
                norm=norm,
                radius=reach[rows],
                steps=steps,
                loss=likelihood if start % 2 else gap,
                draws=draws if start else None,
                bounds=bounds,
            )
            with torch.no_grad():
                least = torch.minimum(least, gap(judge(moved), labels[rows]))
        found.append(least)
    return torch.cat(found)


def _each(values: Tensor, inputs: Tensor) -> Tensor:
    """Return one value, or one an input, as it is broadcast over the inputs."""
    return values.view(-1, *[1] * (inputs.ndim - 1))


def _length(change: Tensor) -> Tensor:
    return _each(change.flatten(1).norm(dim=1), change)


def _steepest(slope: Tensor, norm: Norm) -> Tensor:
    """Return the change of norm 1 that raises the gap most."""
    return slope.sign() if norm is Norm.LINF else slope / _length(slope).clamp(min=TINY)


def _project(change: Tensor, norm: Norm, reach: Tensor) -> Tensor:
    if norm is Norm.LINF:
        return change.clamp(-reach, reach)
    return change * (reach / _length(change).clamp(min=TINY)).clamp(max=1)


def _draw(inputs: Tensor, norm: Norm, draws: torch.Generator) -> Tensor:
    """Return changes that are uniform in the ball of radius 1."""
    dtype, device = inputs.dtype, inputs.device
    if norm is Norm.LINF:
        return 2 * torch.rand(inputs.shape, generator=draws, dtype=dtype, device=device) - 1
    direction = torch.randn(inputs.shape, generator=draws, dtype=dtype, device=device)
    share = torch.rand(len(inputs), generator=draws, dtype=dtype, device=device)
    # The volume of a ball grows with the power of its dimension.
    share = share.pow(1 / inputs[0].numel())
    return direction / _length(direction).clamp(min=TINY) * _each(share, inputs)


def _bounded(inputs: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    return inputs.detach() if bounds is None else inputs.detach().clamp(*bounds)
