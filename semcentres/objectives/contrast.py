r"""One anchor's positive against its negatives, on which all contrastive losses rest.

With s_+ the cosine of an anchor to its positive, s_j those to its N negatives, t the temperature:

    loss = -log( e^{s_+ / t} / (e^{s_+ / t} + G) )

where G estimates the sum over the negatives; `Estimator` names the choices. Seed note 002 leaves
t out of the loss and of the hard negatives' weights.

Dimensions: A anchors, P positives and M negatives of an anchor.
"""

from enum import StrEnum
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Kind = TypeVar("Kind", bound=StrEnum)


class Estimator(StrEnum):
    """How the sum over the negatives is estimated.

    Attributes:
        UNIFORM: G = sum_j e^{s_j / t}; NT-Xent (Chen et al. 2020, arXiv:2002.05709) and InfoNCE.
        DEBIASED: G = max( (sum_j e^{s_j / t} - N tau_plus e^{s_+ / t}) / (1 - tau_plus),
            N e^{-1/t} ), DCL (Chuang et al. 2020, arXiv:2007.00224) with the anchor's one positive.
        HARD: the same with N sum_j w_j e^{s_j / t} / sum_j w_j for the sum,
            w_j = e^{beta s_j / t}; HCL (Robinson et al. 2021, arXiv:2010.04592). The gradient
            flows through w.
    """

    UNIFORM = "uniform"
    DEBIASED = "debiased"
    HARD = "hard"


def contrast(
    positives: Float[Tensor, "A P"],
    negatives: Float[Tensor, "A M"],
    kept: Bool[Tensor, "A M"],
    *,
    temperature: float,
    estimator: Estimator | str = Estimator.UNIFORM,
    tau_plus: float = 0.1,
    beta: float = 1.0,
) -> Float[Tensor, "A P"]:
    """Return the loss of every positive against its anchor's negatives.

    Args:
        positives: cosines; each is contrasted with the negatives alone, not with the others.
        negatives: cosines; at least one column.
        kept: which of them count. An anchor with none costs 0.
        temperature: t, in units of cosine, above 0.
        estimator: of the sum over negatives.
        tau_plus: chance that a negative is of the anchor's class, in [0, 1); unused by UNIFORM.
        beta: how much nearer negatives count more, at least 0; used by HARD alone.

    Raises:
        ValueError: an option is out of its range.
    """
    check_options(temperature, estimator, tau_plus, beta)
    p, s = positives / temperature, negatives / temperature
    log_sum = log_sum_exp(s, kept)
    if estimator == Estimator.UNIFORM:
        return F.softplus(log_sum - p)
    num = kept.sum(dim=1, keepdim=True).to(p)
    if estimator == Estimator.HARD:
        log_sum = num.log() + log_sum_exp((1 + beta) * s, kept) - log_sum_exp(beta * s, kept)
    # Everything as multiples of e^shift, or small temperatures overflow.
    shift = torch.maximum(p, log_sum).detach()
    positive, total = (p - shift).exp(), (log_sum - shift).exp()
    least = num * (-1 / temperature - shift).exp()
    rest = torch.maximum((total - num * tau_plus * positive) / (1 - tau_plus), least)
    return (positive + rest).log() - (p - shift)


def check_options(
    temperature: float, estimator: Estimator | str, tau_plus: float, beta: float
) -> None:
    """Raise a ValueError where an option of `contrast` is out of its range."""
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    choice(Estimator, estimator)
    if not 0 <= tau_plus < 1:
        raise ValueError(f"tau_plus must be in [0, 1), got {tau_plus}")
    if beta < 0:
        raise ValueError(f"beta must be at least 0, got {beta}")


def choice(kind: type[Kind], value: str) -> Kind:
    """Return the member of a closed choice, or raise a ValueError that names them all."""
    if value not in list(kind):
        wanted = ", ".join(kind)
        raise ValueError(f"{kind.__name__.lower()} must be one of {wanted}, got {value}")
    return kind(value)


def log_sum_exp(logits: Float[Tensor, "A M"], kept: Bool[Tensor, "A M"]) -> Float[Tensor, "A 1"]:
    """Return log sum e^logit over each row's kept columns; the least number where it has none."""
    # Not -inf: such a row would have nan for its gradient.
    hidden = torch.finfo(logits.dtype).min
    return torch.where(kept, logits, hidden).logsumexp(dim=1, keepdim=True)
