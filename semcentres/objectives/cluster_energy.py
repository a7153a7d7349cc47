r"""The cluster energy of seed note 000: images near their class's centre, in every view.

    Loss  = Term1 + lambda * Term2 + mu * Balance
    Term1 = mean over labelled x of    [ d(x, c_y)^2 + w d(x+, c_y)^2 ] / (1 + w)
    Term2 = mean over unlabelled x of  [ softmin_k d(x, c_k)^2 + w Tie(x+, x) ] / (1 + w)

with x+ each further view of x (summed over, and 1 + w becomes 1 + V w), d^2 the squared
distance of unit vectors, and w the confidence in a view. The note leaves open how x+ is tied to
x; `Tie` names the choices. Three things differ from the note, because as written it collapses:
the soft-min has a temperature, the second term has a balance, and the weights are normalised.

Dimensions: B images, K centres, D embedding width.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semcentres.objectives.balance import balanced, check_prior, divergence
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.softmin import assignment, expected_centre, mean_assignment, nearest, softmin


class Reduction(StrEnum):
    """What the mean is over.

    Attributes:
        SAMPLE: images, so that a class counts as often as it has images.
        CLASS: classes, each with the mean of its images (the note's sum over clusters of E_i); an
            unlabelled image belongs to the class of the centre nearest to its first view.
    """

    SAMPLE = "sample"
    CLASS = "class"


class Tie(StrEnum):
    """What the further views of an unlabelled image are pulled to.

    Attributes:
        SOFT: all centres, each in the share that the first view's assignment gives it.
        HARD: the centre nearest to the first view.
        EMBEDDING: the first view's embedding itself.
        OWN: nothing of the first view: each view has its own soft-min.
    """

    SOFT = "soft"
    HARD = "hard"
    EMBEDDING = "embedding"
    OWN = "own"


def labelled_energy(
    views: Sequence[Float[Tensor, "B D"]],
    labels: Int[Tensor, " B"],
    centres: Float[Tensor, "K D"],
    *,
    view_confidence: float = 1.0,
    reduction: Reduction = Reduction.SAMPLE,
) -> Float[Tensor, ""]:
    """Return Term 1: the mean squared distance to the label's centre, over images and views.

    Args:
        views: unit embeddings, the image first, its further views after it.
        labels: row of each image's centre.
        centres: unit rows; they receive no gradient.
        view_confidence: w, the weight of a further view, in [0, 1].
        reduction: what the mean is over.

    Returns:
        A scalar in [0, 4]; 0, still part of the graph, for an empty batch.
    """
    wanted = centres.detach()[labels]
    energies = [_squared_distance(z, wanted) for z in views]
    return _over_views(energies, view_confidence, _clusters(labels, reduction))


def unlabelled_energy(
    views: Sequence[Float[Tensor, "B D"]],
    centres: Float[Tensor, "K D"],
    *,
    temperature: float,
    tie: Tie = Tie.SOFT,
    targets: Float[Tensor, "B K"] | None = None,
    sharpening: float = 1.0,
    hard: bool = False,
    view_confidence: float = 1.0,
    reduction: Reduction = Reduction.SAMPLE,
) -> Float[Tensor, ""]:
    """Return Term 2: the soft-min energy of the first view and the tie of the others to it.

    Args:
        views: unit embeddings, the image first, its further views after it.
        centres: unit rows; they receive no gradient.
        temperature: of the soft-min and of the soft assignment, in squared distance.
        tie: what the further views are pulled to.
        targets: the first view's assignment where it is made elsewhere (balanced); None computes
            it here. No gradient flows through it. For `Tie.SOFT` and `Tie.HARD`.
        sharpening: the temperature of the assignment made here, as a share of `temperature`.
        hard: whether the squared distance to the nearest centre stands in for the soft-min, its
            limit for a temperature of 0.
        view_confidence: w, the weight of a further view, in [0, 1].
        reduction: what the mean is over.

    Returns:
        A scalar in [-temperature * log K, 4]; 0, still part of the graph, for an empty batch.
    """
    first, *others = views
    least = hard_energy if hard else partial(softmin, temperature=temperature)
    own = least(first, centres)
    if tie is Tie.OWN:
        tied = [least(z, centres) for z in others]
    elif tie is Tie.EMBEDDING:
        tied = [_squared_distance(z, first) for z in others]
    else:
        pull = _pull(first, centres, tie, targets, temperature * sharpening)
        tied = [2 - 2 * (z * pull).sum(dim=1) for z in others]
    clusters = _clusters(nearest(first, centres), reduction)
    return _over_views([own, *tied], view_confidence, clusters)


@torch.no_grad()
def _pull(
    first: Tensor, centres: Tensor, tie: Tie, targets: Tensor | None, temperature: float
) -> Float[Tensor, "B D"]:
    """Return sum_k p_k c_k: for unit rows sum_k p_k ||z - c_k||^2 = 2 - 2 z . sum_k p_k c_k."""
    if tie is Tie.HARD:
        rows = nearest(first, centres) if targets is None else targets.argmax(dim=1)
        return centres[rows]
    if targets is None:
        return expected_centre(first, centres, temperature=temperature)
    return targets @ centres


def hard_energy(
    embeddings: Float[Tensor, "B D"], centres: Float[Tensor, "K D"]
) -> Float[Tensor, " B"]:
    """Return each image's squared distance to its nearest centre; the limit of the soft-min."""
    return _squared_distance(embeddings, centres.detach()[nearest(embeddings, centres)])


class ClusterEnergy(nn.Module):
    """The objective of seed note 000 with every choice that it leaves open as an option.

    With `trainer.teacher` the first unlabelled view comes without gradient: its soft-min is then a
    number to watch, and what is descended is the tie of the other views to its assignment.

    Args:
        temperature: t of the soft-min, in squared distance; keep it below the bank's safe one.
        tie: what the further views of an unlabelled image are pulled to.
        unlabelled_weight: lambda, at the end of its ramp.
        unlabelled_ramp: share of the training over which lambda grows from 0, in [0, 1].
        view_confidence: w at the end of its ramp, in [0, 1]; the note suggests 0.9.
        view_ramp: share of the training over which w grows from 0, in [0, 1].
        balance_weight: mu, of the divergence of the mean assignment from the prior. With 0 and
            no balanced targets, all unlabelled images may end at one centre.
        sharpening: the targets' temperature as a share of `temperature`; below 1 sharpens.
        balance_targets: whether to scale the batch's targets to the prior (Sinkhorn).
        hard: whether the squared distance to the nearest centre stands in for the soft-min.
        reduction: whether both terms are means over images or over classes.
        prior: expected share of each class among the unlabelled images; None means uniform.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.15,
        tie: Tie | str = Tie.SOFT,
        unlabelled_weight: float = 1.0,
        unlabelled_ramp: float = 0.3,
        view_confidence: float = 1.0,
        view_ramp: float = 0.0,
        balance_weight: float = 0.5,
        sharpening: float = 1.0,
        balance_targets: bool = False,
        hard: bool = False,
        reduction: Reduction | str = Reduction.SAMPLE,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        _check_options(temperature, sharpening, view_confidence, prior)
        self.temperature = temperature
        self.tie = Tie(tie)
        self.unlabelled_weight = unlabelled_weight
        self.unlabelled_ramp = unlabelled_ramp
        self.view_confidence = view_confidence
        self.view_ramp = view_ramp
        self.balance_weight = balance_weight
        self.sharpening = sharpening
        self.balance_targets = balance_targets
        self.hard = hard
        self.reduction = Reduction(reduction)
        self.prior: Tensor | None
        self.register_buffer("prior", None if prior is None else torch.tensor(list(prior)))

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss and its terms, each a scalar before its weight."""
        confidence = self.view_confidence * ramp(batch.progress, self.view_ramp)
        labelled = labelled_energy(
            batch.labelled,
            batch.labels,
            batch.centres,
            view_confidence=confidence,
            reduction=self.reduction,
        )
        unlabelled = unlabelled_energy(
            batch.unlabelled,
            batch.centres,
            temperature=self.temperature,
            tie=self.tie,
            targets=self._targets(batch.unlabelled[0], batch.centres),
            sharpening=self.sharpening,
            hard=self.hard,
            view_confidence=confidence,
            reduction=self.reduction,
        )
        balance = self._balance(batch)
        weight = self.unlabelled_weight * ramp(batch.progress, self.unlabelled_ramp)
        loss = labelled + weight * unlabelled + self.balance_weight * balance
        return {"loss": loss, "labelled": labelled, "unlabelled": unlabelled, "balance": balance}

    @torch.no_grad()
    def _targets(self, first: Tensor, centres: Tensor) -> Tensor | None:
        if not self.balance_targets:
            return None
        sharp = self.temperature * self.sharpening
        return balanced(assignment(first, centres, temperature=sharp), self.prior)

    def _balance(self, batch: EmbeddedBatch) -> Tensor:
        rows = torch.cat(batch.unlabelled)
        if not len(rows):
            return rows.sum()
        mean = mean_assignment(rows, batch.centres, temperature=self.temperature)
        return divergence(mean, self.prior)


def ramp(progress: float, length: float) -> float:
    """Return the share of a weight that grows linearly from 0 to 1 over `length` of training."""
    return 1.0 if progress >= length else progress / length


def _squared_distance(first: Tensor, second: Tensor) -> Float[Tensor, " B"]:
    return 2 - 2 * (first * second).sum(dim=1)


def _clusters(rows: Tensor, reduction: Reduction) -> Tensor | None:
    return rows if reduction is Reduction.CLASS else None


def _over_views(
    energies: Sequence[Tensor], confidence: float, clusters: Int[Tensor, " B"] | None
) -> Float[Tensor, ""]:
    """Return the mean over views, the first at weight 1, the others at w, and over images.

    Where clusters are given, over the images of each, then over the clusters that have any.
    """
    weights = [1.0, *[confidence] * (len(energies) - 1)]
    share = torch.ones_like(energies[0])
    if clusters is not None:
        share = share / torch.bincount(clusters)[clusters]
    total = sum(w * (energy * share).sum() for w, energy in zip(weights, energies, strict=True))
    # At least 1: an empty batch costs 0 and stays connected to the graph, where mean() is nan.
    return torch.as_tensor(total) / (sum(weights) * share.sum().clamp(min=1))


def _check_options(
    temperature: float, sharpening: float, confidence: float, prior: Sequence[float] | None
) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if sharpening <= 0:
        raise ValueError(f"sharpening must be positive, got {sharpening}")
    if not 0 <= confidence <= 1:
        raise ValueError(f"view_confidence must be in [0, 1], got {confidence}")
    check_prior(prior)
