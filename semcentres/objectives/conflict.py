r"""How often, and how strongly, a contrastive loss pushes similar images apart (seed note 001).

Two different images i and j are told to be dissimilar where the loss L grows with their cosine
s_ij. Among those pairs, with y the labels,

    share  = #{ij : y_i = y_j and dL/ds_ij > 0} / #{ij : dL/ds_ij > 0}
    weight = sum_{y_i = y_j} max(0, dL/ds_ij) / sum_{ij} max(0, dL/ds_ij)

For NT-Xent, dL/ds_ij of a negative is its softmax weight up to a common factor. For SupCon it is
the push that a positive gets which is already nearer than the others.

Dimensions: N embeddings (all views of all images), row the anchor, column the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Conflict:
    """The pairs of similar images that a loss pushes apart; 0 where it pushes no known pair.

    Args:
        share: their share among the pairs pushed apart, in [0, 1].
        weight: the share of the gradient that they carry, in [0, 1].
    """

    share: Float[Tensor, ""]
    weight: Float[Tensor, ""]


def conflict(
    gradient: Float[Tensor, "N N"], images: Int[Tensor, " N"], labels: Int[Tensor, " N"]
) -> Conflict:
    """Return how much of a gradient pushes images of one label apart.

    Args:
        gradient: of the loss in the cosines, from `cosine_gradient`.
        images: which image each embedding is a view of; views of one image are no pair.
        labels: true classes, -1 where unknown, or for all images the row of their nearest centre
            (`semcentres.softmin.nearest`). Pairs with an unknown one are left out.

    Returns:
        Two scalars on the device of the gradient; nothing waits for them.
    """
    known = (labels >= 0)[:, None] & (labels >= 0)
    push = gradient.clamp(min=0) * (known & (images[:, None] != images))
    same = labels[:, None] == labels
    return Conflict(_share((push > 0).to(push), same), _share(push, same))


def cosine_gradient(
    loss_of: Callable[[Tensor], Tensor], cosines: Float[Tensor, "N N"]
) -> Float[Tensor, "N N"]:
    """Return the loss's gradient in each cosine, apart from the graph of the embeddings.

    Args:
        loss_of: the scalar loss of a cosine matrix.
        cosines: where to take the gradient.
    """
    with torch.enable_grad():
        leaf = cosines.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(leaf), leaf)
    return gradient


def loss_and_conflict(
    loss_of: Callable[[Tensor], Tensor],
    cosines: Float[Tensor, "N N"],
    images: Int[Tensor, " N"],
    labels: Int[Tensor, " N"],
    *,
    wanted: bool = True,
) -> dict[str, Tensor]:
    """Return the loss with its conflict, under the names by which objectives log them.

    Args:
        loss_of: the scalar loss of a cosine matrix.
        cosines: of all pairs; the loss's gradient flows into them.
        images: which image each embedding is a view of.
        labels: true classes, -1 where unknown.
        wanted: whether the conflict is; it costs about as much as the loss.

    Returns:
        "loss", and where wanted "false_negatives" (the share) and "false_negative_weight" (the
        weight).
    """
    if not wanted:
        return {"loss": loss_of(cosines)}
    found = conflict(cosine_gradient(loss_of, cosines), images, labels)
    return {
        "loss": loss_of(cosines),
        "false_negatives": found.share,
        "false_negative_weight": found.weight,
    }


def _share(values: Tensor, chosen: Tensor) -> Float[Tensor, ""]:
    # The least number: with no value at all the share is 0 and not 0 / 0.
    return (values * chosen).sum() / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
