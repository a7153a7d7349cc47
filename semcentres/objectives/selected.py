r"""NT-Xent that pushes apart only the images that are most likely of different classes.

Seed note 001 asks to guess by confidence which images of a batch are dissimilar, and to leave the
ambiguous ones out of the loss. With f(x) an image's embedding, averaged over its views, and m_i the
direction of the mean embedding of class i's labelled images,

    c_i(x) = m_i . f(x),        p(x) = softmax(c(x) / t),        same(x, x') = sum_i p_i(x) p_i(x')

and p(x) certain where x has a label. The note's m_i is the mean itself, whose length is below 1, so
that no confidence would reach 1. Of two images about which nothing is known, same = 1 / K; a pair
enters the loss where

    same(x, x') <= (1 - threshold) / K

so that the threshold is the part of the way from chance to certainty, for any number of classes.
It bounds the chance 1 - same of different classes from below; a bound of its own, such as 0.95,
would let every ambiguous pair in where there are many classes.

Dimensions: B images, V views, K classes, D width.
"""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.conflict import loss_and_conflict
from semcentres.objectives.joined import join
from semcentres.objectives.nt_xent import all_cosines, nt_xent_of_cosines


def class_means(
    embeddings: Float[Tensor, "B D"], labels: Int[Tensor, " B"], *, num_classes: int
) -> Float[Tensor, "K D"]:
    """Return the direction of the mean embedding of each class; 0 for a class without image.

    Args:
        embeddings: unit rows, or means of an image's unit views.
        labels: classes, -1 where unknown.
        num_classes: K.
    """
    sums = _members(labels, num_classes).to(embeddings).T @ embeddings
    return F.normalize(sums, dim=1)


def class_probabilities(
    embeddings: Float[Tensor, "B D"],
    labels: Int[Tensor, " B"],
    *,
    num_classes: int,
    temperature: float,
) -> Float[Tensor, "B K"]:
    """Return the probability of each class for each image, from the confidences c_i(x).

    Args:
        embeddings: unit rows, or means of an image's unit views.
        labels: classes, -1 where unknown. Where known, their probability is 1; a class without
            a label in the batch has probability 0.
        num_classes: K.
        temperature: t, in units of cosine, above 0.

    Raises:
        ValueError: `temperature` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    members = _members(labels, num_classes)
    means = class_means(embeddings, labels, num_classes=num_classes)
    # Not -inf: without any label the row would be nan.
    absent = torch.finfo(embeddings.dtype).min
    confidences = torch.where(members.any(dim=0), embeddings @ means.T / temperature, absent)
    known = (labels >= 0)[:, None]
    return torch.where(known, members.to(embeddings), confidences.softmax(dim=1))


@torch.no_grad()
def likely_dissimilar(
    views: Sequence[Float[Tensor, "B D"]],
    labels: Int[Tensor, " B"],
    *,
    num_classes: int,
    confidence_temperature: float,
    threshold: float,
) -> Bool[Tensor, "B B"]:
    """Return which pairs of images are likely enough of different classes.

    Args:
        views: unit embeddings, one tensor or more.
        labels: classes, -1 where unknown.
        num_classes: at least the largest label + 1. The K of the rule is the number of classes
            that have a label in the batch; without any, nothing is known and no pair is likely.
        confidence_temperature: t, in units of cosine, above 0.
        threshold: part of the way from chance to certainty, in [0, 1].

    Raises:
        ValueError: an option is out of its range.
    """
    _check_threshold(threshold)
    p = class_probabilities(
        torch.stack(list(views)).mean(dim=0),
        labels,
        num_classes=num_classes,
        temperature=confidence_temperature,
    )
    present = _members(labels, num_classes).any(dim=0).sum()
    # same <= (1 - threshold) / K, without a division by no class.
    return (p @ p.T * present <= 1 - threshold) & (present > 0)


class SelectedNTXent(nn.Module):
    """NT-Xent of all images of the batch, over the pairs that are likely dissimilar.

    An anchor that is likely dissimilar to none costs 0 and counts in the mean.

    Args:
        temperature: of the loss, in units of cosine, above 0.
        confidence_temperature: of the class probabilities, in units of cosine, above 0.
        threshold: part of the way from chance to certainty that two images are of different
            classes, in [0, 1]. At 1 hardly any but labelled images are pushed apart.

    Raises:
        ValueError: an option is out of its range.
    """

    # It has no soft-min over centres.
    temperature: float | None = None

    def __init__(
        self,
        *,
        temperature: float = 0.5,
        confidence_temperature: float = 0.1,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        for name, value in (
            ("temperature", temperature),
            ("confidence_temperature", confidence_temperature),
        ):
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
        _check_threshold(threshold)
        self.contrast_temperature = temperature
        self.confidence_temperature = confidence_temperature
        self.threshold = threshold

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, its conflict, and the share of the pairs that enter ("selected")."""
        images = join(batch)
        likely = likely_dissimilar(
            images.views,
            images.labels,
            num_classes=len(batch.centres),
            confidence_temperature=self.confidence_temperature,
            threshold=self.threshold,
        )
        differ = images.differ()
        chosen = likely & differ
        loss_of = partial(
            nt_xent_of_cosines,
            num_views=len(images.views),
            temperature=self.contrast_temperature,
            dissimilar=chosen,
        )
        terms = loss_and_conflict(
            loss_of,
            all_cosines(images.views),
            images.of_views(images.rows),
            images.of_views(images.truth),
            wanted=batch.diagnose,
        )
        return terms | {"selected": chosen.sum() / differ.sum().clamp(min=1)}


def _members(labels: Tensor, num_classes: int) -> Bool[Tensor, "B K"]:
    return labels[:, None] == torch.arange(num_classes, device=labels.device)


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be in [0, 1], got {threshold}")
