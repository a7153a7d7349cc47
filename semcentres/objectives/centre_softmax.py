"""Cross-entropy over the cosines to all centres: a labelled image near its own, far from others.

Dimensions: B images, K centres, D embedding width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.softmin import LARGE, log_normaliser


def centre_softmax(
    embeddings: Float[Tensor, "B D"],
    centres: Float[Tensor, "K D"],
    labels: Int[Tensor, " B"],
    *,
    temperature: float,
) -> Float[Tensor, " B"]:
    r"""Return each image's cross-entropy over its cosines to all centres.

    With z the unit embeddings, c_k the centres and t the temperature:

        loss_i = -log( exp(z_i . c_{y_i} / t) / sum_k exp(z_i . c_k / t) )

    Up to the factor, the labelled energy with its normaliser: (d_y^2 - softmin(z)) / (2 t), the
    soft-min at temperature 2 t.

    Args:
        embeddings: unit rows.
        centres: unit rows; they receive no gradient.
        labels: row of each image's centre.
        temperature: t, in units of cosine, above 0.

    Returns:
        One loss an image, at least 0.

    Raises:
        ValueError: `temperature` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if len(centres) <= LARGE:
        logits = embeddings @ centres.detach().T / temperature
        return F.cross_entropy(logits, labels, reduction="none")
    own = (embeddings * centres.detach()[labels]).sum(dim=1)
    return log_normaliser(embeddings, centres, scale=1 / temperature) - own / temperature


class CentreSoftmax(nn.Module):
    """The cross-entropy of all labelled views; unlabelled images are not used.

    For many classes it trains faster than the labelled energy, which does not push an image away
    from the other centres.

    Args:
        sharpness: 1 / t.

    Raises:
        ValueError: `sharpness` is not positive.
    """

    # It has no soft-min that could collapse: every image has a label.
    temperature: float | None = None

    def __init__(self, *, sharpness: float = 20.0) -> None:
        super().__init__()
        if sharpness <= 0:
            raise ValueError(f"sharpness must be positive, got {sharpness}")
        self.sharpness = sharpness

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, the mean over images and views."""
        losses = torch.cat(
            [
                centre_softmax(z, batch.centres, batch.labels, temperature=1 / self.sharpness)
                for z in batch.labelled
            ]
        )
        # max(1, .): an empty batch costs 0 and stays connected to the graph, where mean() is nan.
        return {"loss": losses.sum() / max(1, len(losses))}
