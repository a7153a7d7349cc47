r"""PAWS: two views of an unlabelled image get the same soft label from the labelled images.

With S the M unit supports, Y their (smoothed) labels, t the temperature and T the sharpening:

    p(z) = softmax(z S^T / t) Y,        sharpen(p)_k = p_k^{1/T} / sum_j p_j^{1/T}
    loss = mean over views v of H( sharpen(p(z_v')), p(z_v) ) - H( mean over views of sharpen(p) )

where v' is the other view, without gradient, and H(., .) the cross-entropy. Assran et al. 2021
(arXiv:2104.13963). The last term (me-max) is here the divergence from a prior, which differs from
it by log K for a uniform one.

Dimensions: B images, V views, M supports, K classes, D embedding width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from centre_builders.errors import InputError
from semcentres.objectives.balance import balanced, check_prior, prior_divergence
from semcentres.objectives.batch import EmbeddedBatch

TINY = 1e-4  # target entries below it are set to 0, as in the authors' code


def smoothed_labels(
    labels: Int[Tensor, " M"], *, num_classes: int, smoothing: float
) -> Float[Tensor, "M K"]:
    """Return one row a label: 1 - smoothing at its class, and smoothing spread over all."""
    return (1 - smoothing) * F.one_hot(labels, num_classes).float() + smoothing / num_classes


def soft_neighbours(
    embeddings: Float[Tensor, "B D"],
    supports: Float[Tensor, "M D"],
    support_labels: Float[Tensor, "M K"],
    *,
    temperature: float,
) -> Float[Tensor, "B K"]:
    """Return each embedding's class probabilities, the supports' labels by their nearness.

    Args:
        embeddings: unit rows.
        supports: unit rows of labelled images.
        support_labels: their labels; rows sum to 1.
        temperature: t, in units of cosine, above 0.
    """
    weights = (embeddings @ supports.T / temperature).softmax(dim=1)
    return weights @ support_labels.to(weights)


def sharpen(probabilities: Float[Tensor, "B K"], *, sharpening: float) -> Float[Tensor, "B K"]:
    """Return the probabilities to the power of 1 / T, scaled to a sum of 1."""
    # Both clamps: a power that underflows is 0 / 0 in a whole row, and where it is 0 for a whole
    # class, me-max has an infinite slope.
    least = torch.finfo(probabilities.dtype).tiny
    return (probabilities.clamp(min=least).log() / sharpening).softmax(dim=1).clamp(min=least)


def consistency(
    predicted: Sequence[Float[Tensor, "B K"]],
    *,
    sharpening: float,
    balance_targets: bool = False,
    prior: Float[Tensor, " _P"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of each view with its target from the others.

    Args:
        predicted: class probabilities, above 0, of two views or more. The target of the first
            view is made of the second and the other way round; further ones (multi-crop) have
            the mean of these two as theirs.
        sharpening: T, above 0.
        balance_targets: whether to scale the batch's targets to the prior (Sinkhorn).
        prior: expected share of each class; None means uniform.

    Returns:
        A scalar; 0, still part of the graph, for an empty batch.

    Raises:
        InputError: there are fewer than two views.
    """
    if len(predicted) < 2:
        raise InputError(f"views must be two or more, got {len(predicted)}; add to views")
    with torch.no_grad():
        sharp = [sharpen(p, sharpening=sharpening) for p in predicted[:2]]
        if balance_targets:
            sharp = [balanced(p, prior) for p in sharp]
        targets = [sharp[1], sharp[0], *[(sharp[0] + sharp[1]) / 2] * (len(predicted) - 2)]
        targets = [torch.where(t < TINY, 0, t) for t in targets]
    losses = [-(t * p.log()).sum(dim=1) for t, p in zip(targets, predicted, strict=True)]
    num = len(losses) * len(predicted[0])
    # max(1, .): an empty batch costs 0 and stays connected to the graph, where mean() is nan.
    return torch.stack(losses).sum() / max(1, num)


class PAWS(nn.Module):
    """PAWS with the batch's labelled views as supports and its unlabelled views as anchors.

    Args:
        temperature: t, in units of cosine, above 0.
        sharpening: T, above 0; below 1 sharpens.
        label_smoothing: share of a support's label spread over all classes, in (0, 1): without
            it a class that has no support has probability 0, and an infinite cross-entropy.
        balance_weight: of me-max, at least 0. Without it all images may get one label.
        balance_sharpened: whether me-max is of the sharpened probabilities' mean, as in PAWS, or
            of their own, as in MSN (Assran et al. 2022, arXiv:2204.07141).
        balance_targets: whether to scale the batch's targets to the prior (Sinkhorn).
        prior: expected share of each class among the unlabelled images, above 0, sums to 1; None
            means uniform.

    Raises:
        ValueError: an option is out of its range.
    """

    # It has no soft-min over centres.
    temperature: float | None = None

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        sharpening: float = 0.25,
        label_smoothing: float = 0.1,
        balance_weight: float = 1.0,
        balance_sharpened: bool = True,
        balance_targets: bool = False,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if temperature <= 0 or sharpening <= 0:
            raise ValueError(
                f"temperature and sharpening must be positive, got {temperature} and {sharpening}"
            )
        if not 0 < label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in (0, 1), got {label_smoothing}")
        if balance_weight < 0:
            raise ValueError(f"balance_weight must be at least 0, got {balance_weight}")
        check_prior(prior)
        self.support_temperature = temperature
        self.sharpening = sharpening
        self.label_smoothing = label_smoothing
        self.balance_weight = balance_weight
        self.balance_sharpened = balance_sharpened
        self.balance_targets = balance_targets
        self.prior: Tensor | None
        self.register_buffer("prior", None if prior is None else torch.tensor(list(prior)))

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, the consistency and the divergence from the prior.

        Without a labelled image nothing is predicted, and all are 0.
        """
        supports = torch.cat(batch.labelled)
        if not len(supports):
            nothing = 0 * torch.cat(batch.unlabelled).sum()
            return dict.fromkeys(("loss", "consistency", "balance"), nothing)
        labels = smoothed_labels(
            batch.labels.repeat(len(batch.labelled)),
            num_classes=len(batch.centres),
            smoothing=self.label_smoothing,
        )
        predicted = [
            soft_neighbours(z, supports, labels, temperature=self.support_temperature)
            for z in batch.unlabelled
        ]
        consistent = consistency(
            predicted,
            sharpening=self.sharpening,
            balance_targets=self.balance_targets,
            prior=self.prior,
        )
        shares = torch.cat(predicted)
        if self.balance_sharpened:
            shares = sharpen(shares, sharpening=self.sharpening)
        balance = prior_divergence(shares, self.prior)
        loss = consistent + self.balance_weight * balance
        return {"loss": loss, "consistency": consistent, "balance": balance}
