r"""The soft-min over fixed centres on the unit sphere, and what follows from it.

With z a unit embedding, c_k the unit centres, d_k^2 = ||z - c_k||^2 = 2 - 2 z.c_k and t the
temperature:

    softmin(z) = -t log sum_k exp(-d_k^2 / t),        p_k = exp(-d_k^2 / t) / sum_j exp(-d_j^2 / t)

so that min d^2 - t log K <= softmin <= min d^2, and the gradient is sum_k p_k grad d_k^2.
Seed note 000 has t = 1, where the minimiser is the centres' barycentre and not a centre; the
temperature must stay below `centre_builders.geometry.safe_temperature`.

Dimensions: B embeddings, K centres, D width.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
    logits = _logits(embeddings, centres, temperature)
    return 2 - temperature * torch.logsumexp(logits, dim=1)


def assignment(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], *, temperature: float
) -> Float[Tensor, "B K"]:
    """Return the probabilities p_k of every centre; arguments as for `softmin`."""
    return _logits(embeddings, centres, temperature).softmax(dim=1)


def nearest(embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"]) -> Int[Tensor, " B"]:
    """Return the row of the nearest centre, the limit of the assignment for t to 0."""
    return (embeddings @ centres.T).argmax(dim=1)


def _logits(embeddings: Tensor, centres: Tensor, temperature: float) -> Float[Tensor, "B K"]:
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    return (2 / temperature) * embeddings @ centres.detach().T
