r"""Alignment and uniformity as a loss: views of an image together, all images spread out.

Seed note 003 leaves the theorem blank that joins them to the contrastive loss L with M negatives
and temperature tau (Wang & Isola 2020, arXiv:2005.10242, theorem 1):

    lim_{M -> inf} L - log M = -E_pos[f(x) . f(y)] / tau + E_x log E_{x-} exp(f(x-) . f(x) / tau)

with an error in O(M^{-1/2}). `semcentres.evaluation.distribution` has the same two quantities as
metrics of a whole set.

Dimensions: B images, D embedding width.
"""

from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from centre_builders.errors import InputError
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.contrast import log_sum_exp
from semcentres.objectives.joined import join


def align(
    embeddings: Float[Tensor, "B D"], others: Float[Tensor, "B D"], alpha: float = 2.0
) -> Float[Tensor, ""]:
    """Return the mean of ||x - y||^alpha over images; lower is closer.

    Wang & Isola 2020 (arXiv:2005.10242), section 4.1.

    Args:
        embeddings: x, unit rows.
        others: y, another view of the same images.
        alpha: above 0.

    Returns:
        A scalar in [0, 2^alpha]; 0, still part of the graph, for an empty batch.

    Raises:
        ValueError: `alpha` is not positive.
    """
    _check_positive("alpha", alpha)
    lengths = torch.linalg.vector_norm(embeddings - others, dim=1)
    apart = lengths > 0
    # The inner where: below alpha = 1 the power's slope at 0 is infinite, and inf * 0 is nan.
    powers = torch.where(apart, torch.where(apart, lengths, 1.0).pow(alpha), 0.0)
    return powers.sum() / max(1, len(powers))


def uniform(
    embeddings: Float[Tensor, "B D"], t: float = 2.0, *, kept: Bool[Tensor, "B B"] | None = None
) -> Float[Tensor, ""]:
    r"""Return how evenly the rows cover the sphere; lower is more even.

        log mean_{i<j} exp(-t ||x_i - x_j||^2)

    Wang & Isola 2020 (arXiv:2005.10242), section 4.1. The pairs are of independent images; the
    seed note writes them with the symbols of a positive pair.

    Args:
        embeddings: x, unit rows, of one view.
        t: above 0.
        kept: which pairs count, a symmetric table; None means all.

    Returns:
        A scalar in [-4 t, 0]; 0, still part of the graph, where there is no pair.

    Raises:
        ValueError: `t` is not positive.
    """
    _check_positive("t", t)
    # ||x - y||^2 = 2 - 2 x . y for unit rows.
    exponents = 2 * t * (embeddings @ embeddings.T - 1)
    pairs = torch.ones_like(exponents, dtype=torch.bool) if kept is None else kept
    pairs = pairs.triu(diagonal=1).flatten()[None]
    num = pairs.sum()
    # Not num.log(): a whole number's logarithm is float32, whatever the embeddings are.
    log_num = num.clamp(min=1).to(exponents).log()
    value = log_sum_exp(exponents.flatten()[None], pairs).sum() - log_num
    return torch.where(num > 0, value, 0 * exponents.sum())


class AlignUniform(nn.Module):
    """Alignment plus weighted uniformity of all images of the batch; labels are not used.

    Alignment is the mean over all pairs of views, uniformity over views. Two rows of one image
    are not independent and count as no pair of the uniformity.

    Args:
        alpha: the power of the distance between views, above 0.
        t: the sharpness of the kernel, above 0.
        uniform_weight: of the uniformity, at least 0; with 0 all images may end at one point.

    Raises:
        ValueError: an option is out of its range, or a batch has fewer than two views.
    """

    temperature: float | None = None

    def __init__(self, *, alpha: float = 2.0, t: float = 2.0, uniform_weight: float = 1.0) -> None:
        super().__init__()
        _check_positive("alpha", alpha)
        _check_positive("t", t)
        if uniform_weight < 0:
            raise ValueError(f"uniform_weight must be at least 0, got {uniform_weight}")
        self.alpha = alpha
        self.t = t
        self.uniform_weight = uniform_weight

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss and its two terms, each before its weight."""
        images = join(batch)
        if len(images.views) < 2:
            raise InputError(f"views must be two or more, got {len(images.views)}; add to views")
        pairs = combinations(images.views, 2)
        aligned = torch.stack([align(x, y, self.alpha) for x, y in pairs]).mean()
        kept = images.differ()
        spread = torch.stack([uniform(z, self.t, kept=kept) for z in images.views]).mean()
        loss = aligned + self.uniform_weight * spread
        return {"loss": loss, "align": aligned, "uniform": spread}


def _check_positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value}")
