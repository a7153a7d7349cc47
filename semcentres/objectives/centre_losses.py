"""Losses of labelled images against fixed centres, without a softmax: cosine, DeViSE, regression.

All three act on the cosines of unit embeddings to unit centres, and none has a temperature.

Dimensions: B images, K centres, D embedding width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch


def cosine_loss(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], labels: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Return 1 - z . c_y of each image, half its squared distance to its own centre.

    The embedding loss of Barz & Denzler 2019 (arXiv:1809.09924); the cross-entropy that they add
    is not part of it.

    Args:
        embeddings: z, unit rows.
        centres: c, unit rows; they receive no gradient.
        labels: y, row of each image's centre.

    Returns:
        One loss an image, in [0, 2].
    """
    return 1 - _own_cosines(embeddings, centres, labels)


def devise(
    embeddings: Float[Tensor, "B D"],
    centres: Float[Tensor, "K D"],
    labels: Int[Tensor, " B"],
    *,
    margin: float,
) -> Float[Tensor, " B"]:
    """Return each image's hinge ranking loss: how far other centres come near, summed over them.

        loss_i = sum_{j != y_i} max(0, m - z_i . c_{y_i} + z_i . c_j)

    Frome et al. 2013 (DeViSE, NeurIPS), with the encoder's own embedding in the place of a learnt
    map from image features to word vectors.

    Args:
        embeddings: z, unit rows.
        centres: c, unit rows; they receive no gradient.
        labels: y, row of each image's centre.
        margin: m, in units of cosine, at least 0.

    Returns:
        One loss an image, in [0, (K - 1) (2 + m)].

    Raises:
        ValueError: `margin` is negative.
    """
    _check_margin(margin)
    cosines = embeddings @ centres.detach().T
    hinges = (margin + cosines - cosines.gather(1, labels[:, None])).relu()
    # Not minus m, which leaves the rounding of m + s - s.
    return hinges.scatter(1, labels[:, None], 0.0).sum(dim=1)


def dot_regression(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], labels: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """Return (w_y . z - 1)^2 / 2 of each image, w the centres.

    Yang et al. 2022 (arXiv:2203.09081), with features and classifier of length 1; they fix w to
    a simplex (`centres=simplex`), here it is any bank. Half the loss of Mettes et al. 2019
    (arXiv:1901.10514). Its gradient is that of the cosine loss, times 1 - w_y . z: an image near
    its centre hardly pulls.

    Args:
        embeddings: z, unit rows.
        centres: w, unit rows; they receive no gradient.
        labels: y, row of each image's centre.

    Returns:
        One loss an image, in [0, 2].
    """
    return (_own_cosines(embeddings, centres, labels) - 1).square() / 2


class CosineLoss(nn.Module):
    """The cosine loss of all labelled views; unlabelled images are not used."""

    temperature: float | None = None

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, the mean over images and views."""
        return _mean([cosine_loss(z, batch.centres, batch.labels) for z in batch.labelled])


class DeViSE(nn.Module):
    """The hinge ranking loss of all labelled views; unlabelled images are not used.

    Args:
        margin: m, in units of cosine, at least 0.

    Raises:
        ValueError: `margin` is negative.
    """

    temperature: float | None = None

    def __init__(self, *, margin: float = 0.1) -> None:
        super().__init__()
        _check_margin(margin)
        self.margin = margin

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, the mean over images and views."""
        return _mean(
            [devise(z, batch.centres, batch.labels, margin=self.margin) for z in batch.labelled]
        )


class DotRegression(nn.Module):
    """The dot regression of all labelled views; unlabelled images are not used."""

    temperature: float | None = None

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, the mean over images and views."""
        return _mean([dot_regression(z, batch.centres, batch.labels) for z in batch.labelled])


def _own_cosines(embeddings: Tensor, centres: Tensor, labels: Tensor) -> Float[Tensor, " B"]:
    return (embeddings * centres.detach()[labels]).sum(dim=1)


def _mean(views: Sequence[Float[Tensor, " B"]]) -> dict[str, Tensor]:
    losses = torch.cat(list(views))
    # max(1, .): an empty batch costs 0 and stays connected to the graph, where mean() is nan.
    return {"loss": losses.sum() / max(1, len(losses))}


def _check_margin(margin: float) -> None:
    if margin < 0:
        raise ValueError(f"margin must be at least 0, got {margin}")
