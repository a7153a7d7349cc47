r"""The soft-min over fixed centres on the unit sphere, and what follows from it.

With z a unit embedding, c_k the unit centres, d_k^2 = ||z - c_k||^2 = 2 - 2 z.c_k and t the
temperature:

    softmin(z) = -t log sum_k exp(-d_k^2 / t),        p_k = exp(-d_k^2 / t) / sum_j exp(-d_j^2 / t)

so that min d^2 - t log K <= softmin <= min d^2, and the gradient is sum_k p_k grad d_k^2.
Seed note 000 has t = 1, where the minimiser is the centres' barycentre and not a centre; the
temperature must stay below `centre_builders.geometry.safe_temperature`.

Above `LARGE` centres nothing here holds a B x K matrix but `assignment`, which is one: what is
needed of it (the log of its normaliser, the mean of the centres, its mean over a batch) comes from
semcentres/attention.py or in blocks.

Dimensions: B embeddings, K centres, D width.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semcentres.attention import attend

LARGE = 1024  # centres up to which the plain way is as fast and its matrix small
BLOCK = 8192  # centres at a time above


def squared_distances(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"]
) -> Float[Tensor, "B K"]:
    """Return ||z - c_k||^2 = 2 - 2 z.c_k of unit rows, in [0, 4]."""
    return 2 - 2 * embeddings @ centres.T


def softmin(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], *, temperature: float
) -> Float[Tensor, " B"]:
    """Return the soft minimum of the squared distances to all centres.

    Args:
        embeddings: unit rows.
        centres: unit rows; they receive no gradient.
        temperature: t, in units of squared distance, above 0.

    Returns:
        One value per embedding, in [-t log K, 4].

    Raises:
        ValueError: `temperature` is not positive.
    """
    scale = scale_of(temperature)
    return 2 - temperature * log_normaliser(embeddings, centres, scale=scale)


def assignment(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], *, temperature: float
) -> Float[Tensor, "B K"]:
    """Return the probabilities p_k of every centre; arguments as for `softmin`."""
    return _logits(embeddings, centres, scale_of(temperature)).softmax(dim=1)


@torch.no_grad()
def expected_centre(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], *, temperature: float
) -> Float[Tensor, "B D"]:
    """Return sum_k p_k c_k, without gradient; arguments as for `softmin`."""
    scale = scale_of(temperature)
    if len(centres) <= LARGE:
        return _logits(embeddings, centres, scale).softmax(dim=1) @ _wide(centres)
    return attend(embeddings, centres, scale=scale).mean


def mean_assignment(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], *, temperature: float
) -> Float[Tensor, " K"]:
    """Return the mean of `assignment` over the batch, at least one row, with its gradient."""
    scale = scale_of(temperature)
    if len(centres) <= LARGE:
        return _logits(embeddings, centres, scale).softmax(dim=1).mean(dim=0)
    normaliser = log_normaliser(embeddings, centres, scale=scale)[:, None]

    def share(rows: Tensor, block: Tensor, normaliser: Tensor) -> Tensor:
        return (_logits(rows, block, scale) - normaliser).exp().mean(dim=0)

    # Each block is computed again for its gradient, so that one is held at a time.
    shares = [
        checkpoint(share, embeddings, block, normaliser, use_reentrant=False)
        for block in centres.detach().split(BLOCK)
    ]
    return torch.cat(shares)


def log_normaliser(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], *, scale: float
) -> Float[Tensor, " B"]:
    """Return log sum_k exp(scale z.c_k), in float32 for half types.

    Its gradient is scale sum_k p_k c_k, which the same pass gives; a second derivative is taken
    by the B x K matrix.

    Args:
        embeddings: rows of any length.
        centres: they receive no gradient.
        scale: above 0.
    """
    if len(centres) <= LARGE:
        return _logits(embeddings, centres, scale).logsumexp(dim=1)
    value: Tensor = _LogNormaliser.apply(embeddings, centres.detach(), scale)
    return value


def nearest(embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"]) -> Int[Tensor, " B"]:
    """Return the row of the nearest centre, the limit of the assignment for t to 0."""
    if len(centres) <= LARGE:
        return (embeddings @ centres.T).argmax(dim=1)
    best = embeddings.new_full((len(embeddings),), -torch.inf)
    rows = best.new_zeros(len(best), dtype=torch.int64)
    for start in range(0, len(centres), BLOCK):
        cosines, found = (embeddings @ centres[start : start + BLOCK].T).max(dim=1)
        rows = torch.where(cosines > best, found + start, rows)
        best = torch.maximum(best, cosines)
    return rows


class _LogNormaliser(torch.autograd.Function):
    """`log_normaliser`, its gradient kept from the forward pass: B x D numbers."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, centres: Tensor, scale: float) -> Tensor:  # noqa: ANN401
        found = attend(embeddings, centres, scale=scale)
        ctx.save_for_backward(embeddings, centres, found.mean)
        ctx.scale = scale
        return found.lse

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        embeddings, centres, mean = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is asked for, which the plain way has
            mean = _logits(embeddings, centres, ctx.scale).softmax(dim=1) @ _wide(centres)
        return (ctx.scale * gradient[:, None] * mean).to(embeddings.dtype), None, None


def scale_of(temperature: float) -> float:
    """Return 2 / t, by which cosines become logits.

    Raises:
        ValueError: `temperature` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    return 2 / temperature


def _logits(embeddings: Tensor, centres: Tensor, scale: float) -> Float[Tensor, "B K"]:
    return scale * _wide(embeddings) @ _wide(centres.detach()).T


def _wide(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
