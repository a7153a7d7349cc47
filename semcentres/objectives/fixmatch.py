"""FixMatch over the centres: sure guesses of one view are the labels of the others.

Dimensions: B images, K centres, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from centre_builders.errors import InputError
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.centre_softmax import centre_softmax


@dataclass(frozen=True)
class PseudoLabels:
    """Guessed labels.

    Args:
        labels: row of the likeliest centre.
        sure: whether its probability reaches the threshold.
    """

    labels: Int[Tensor, " B"]
    sure: Bool[Tensor, " B"]


@torch.no_grad()
def pseudo_labels(
    embeddings: Float[Tensor, "B D"],
    centres: Float[Tensor, "K D"],
    *,
    temperature: float,
    threshold: float,
) -> PseudoLabels:
    """Return the likeliest centre of each image, and whether it is likely enough.

    Args:
        embeddings: unit rows, of the weakly augmented view.
        centres: unit rows.
        temperature: of the softmax over cosines, above 0.
        threshold: least probability, in [0, 1].
    """
    found = (embeddings @ centres.T / temperature).softmax(dim=1).max(dim=1)
    return PseudoLabels(found.indices, found.values >= threshold)


def pseudo_label_loss(
    views: Sequence[Float[Tensor, "B D"]],
    guessed: PseudoLabels,
    centres: Float[Tensor, "K D"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of views with guessed labels, the unsure ones counting 0.

    Sohn et al. 2020 (arXiv:2001.07685), eq. 4: the mean is over all images of the batch and not
    over the sure ones.

    Args:
        views: unit embeddings of the strongly augmented views.
        guessed: from the weak view.
        centres: unit rows.
        temperature: of the softmax over cosines, above 0.

    Returns:
        A scalar; 0, still part of the graph, for an empty batch.
    """
    total = torch.cat(list(views)).sum() * 0
    for view in views:
        losses = centre_softmax(view, centres, guessed.labels, temperature=temperature)
        total = total + (losses * guessed.sure).sum()
    # max(1, .): an empty batch costs 0 and stays connected to the graph, where mean() is nan.
    return total / max(1, len(views) * len(guessed.labels))


class FixMatch(nn.Module):
    """Cross-entropy of labelled images and of the sure guesses for unlabelled ones.

    Class scores are cosines to the centres over a temperature, so that the classifier is the
    nearest centre as for the cluster energy. The first view is the weak one: configure it so.

    Args:
        sharpness: 1 / temperature of the softmax.
        threshold: least probability of a guess, in [0, 1].
        unlabelled_weight: of the guessed part, at least 0.

    Raises:
        ValueError: an option is out of its range.
    """

    # It has no soft-min over centres.
    temperature: float | None = None

    def __init__(
        self, *, sharpness: float = 10.0, threshold: float = 0.95, unlabelled_weight: float = 1.0
    ) -> None:
        super().__init__()
        if sharpness <= 0:
            raise ValueError(f"sharpness must be positive, got {sharpness}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {threshold}")
        if unlabelled_weight < 0:
            raise ValueError(f"unlabelled_weight must be at least 0, got {unlabelled_weight}")
        self.sharpness = sharpness
        self.threshold = threshold
        self.unlabelled_weight = unlabelled_weight

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, its two parts, and the share of unlabelled images that are sure.

        Raises:
            InputError: there is no strong view beside the weak one.
        """
        if len(batch.unlabelled) < 2:
            raise InputError(
                f"views must be two or more, got {len(batch.unlabelled)}; add to views"
            )
        soft = 1 / self.sharpness
        rows, labels = torch.cat(batch.labelled), batch.labels.repeat(len(batch.labelled))
        supervised = centre_softmax(rows, batch.centres, labels, temperature=soft)
        labelled = supervised.sum() / max(1, len(supervised))
        weak, *strong = batch.unlabelled
        guessed = pseudo_labels(weak, batch.centres, temperature=soft, threshold=self.threshold)
        unlabelled = pseudo_label_loss(strong, guessed, batch.centres, temperature=soft)
        return {
            "loss": labelled + self.unlabelled_weight * unlabelled,
            "labelled": labelled,
            "unlabelled": unlabelled,
            "sure": guessed.sure.sum() / max(1, len(weak)),
        }
