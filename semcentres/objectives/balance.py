"""Keeping the unlabelled images from all going to a few centres.

Dimensions: B embeddings, K centres.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from centre_builders.errors import InputError


def check_prior(prior: Sequence[float] | None) -> None:
    """Raise a ValueError where a prior's shares are not positive or do not sum to 1."""
    if prior is not None and (min(prior) <= 0 or abs(sum(prior) - 1) > 1e-6):
        raise ValueError(f"prior must be positive and sum to 1, got {list(prior)}")


def prior_divergence(
    probabilities: Float[Tensor, "B K"], prior: Float[Tensor, " _P"] | None = None
) -> Float[Tensor, ""]:
    r"""Return the divergence of the mean assignment from the prior, KL(pbar || prior).

    With a uniform prior it is log K - H(pbar), the mean-entropy maximisation (me-max) of PAWS
    (Assran et al. 2021, arXiv:2104.13963) with MSN's constant (arXiv:2204.07141), so that its
    least value is 0.

    Args:
        probabilities: one assignment a row; rows sum to 1.
        prior: expected share of each class, above 0, sums to 1; None means uniform.

    Returns:
        A scalar, at least 0; 0 for an empty batch.

    Raises:
        InputError: the prior has another number of classes.
    """
    if not len(probabilities):
        return probabilities.sum()
    return divergence(probabilities.mean(dim=0), prior)


def divergence(
    mean: Float[Tensor, " K"], prior: Float[Tensor, " _P"] | None = None
) -> Float[Tensor, ""]:
    """Return `prior_divergence` of assignments with this mean."""
    wanted = _expected(prior, mean)
    # xlogy has the limit 0 at 0 and so has its gradient's use here: mean > 0 under a softmax.
    found: Tensor = torch.special.xlogy(mean, mean).sum() - (mean * wanted.log()).sum()
    return found


def balanced(
    probabilities: Float[Tensor, "B K"],
    prior: Float[Tensor, " _P"] | None = None,
    *,
    iterations: int = 3,
) -> Float[Tensor, "B K"]:
    """Return the assignment scaled so that its columns' sums approach the prior.

    Sinkhorn and Knopp's alternation of columns and rows, as SwAV (Caron et al. 2020,
    arXiv:2006.09882, section 3.1) and PAWS use it on targets.

    Args:
        probabilities: one assignment a row; rows sum to 1.
        prior: expected share of each class; None means uniform.
        iterations: alternations; rows are scaled last, so they sum to 1 exactly.
    """
    num = len(probabilities)
    wanted = _expected(prior, probabilities)
    for _ in range(iterations):
        share = probabilities.mean(dim=0, keepdim=True) if num else 1.0
        # A class that got no mass at all stays empty rather than becoming 0 / 0.
        probabilities = probabilities * wanted / (share + 1e-12)
        probabilities = probabilities / probabilities.sum(dim=1, keepdim=True)
    return probabilities


def _expected(prior: Tensor | None, shares: Float[Tensor, "*B K"]) -> Float[Tensor, " K"]:
    """Return the prior like `shares`, uniform where there is none."""
    classes = shares.shape[-1]
    if prior is None:
        return shares.new_full((classes,), 1 / classes)
    if len(prior) != classes:
        raise InputError(f"prior has {len(prior)} shares for {classes} classes; give one a class")
    return prior.to(shares)
