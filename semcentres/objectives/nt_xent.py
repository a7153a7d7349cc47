"""NT-Xent and InfoNCE: views of an image near each other, other images far; DCL and HCL.

`semcentres.objectives.contrast` has the loss of one anchor; here stands what its positives and
negatives are.

Dimensions: B images, V views, N = V B embeddings with the view as the slower index, M negatives of
an anchor, D width.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from centre_builders.errors import InputError
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.conflict import loss_and_conflict
from semcentres.objectives.contrast import Estimator, check_options, choice, contrast
from semcentres.objectives.joined import join


class Reduction(StrEnum):
    """What is made of the anchors' losses.

    Attributes:
        MEAN: their mean.
        VIEW_SUM: the sum over views of the mean over images, V times the mean: SimCLR's published
            code adds the losses of its two views.
    """

    MEAN = "mean"
    VIEW_SUM = "view_sum"


def nt_xent_of_cosines(
    cosines: Float[Tensor, "N N"],
    *,
    num_views: int,
    temperature: float,
    dissimilar: Bool[Tensor, "B B"] | None = None,
    estimator: Estimator | str = Estimator.UNIFORM,
    tau_plus: float = 0.1,
    beta: float = 1.0,
    reduction: Reduction | str = Reduction.MEAN,
) -> Float[Tensor, ""]:
    """Return `nt_xent` of the cosines of all pairs, the first view of all images first."""
    reduction = choice(Reduction, reduction)
    num = len(cosines)
    # max(1, .): an empty batch has no remainder.
    num_images = max(1, num // num_views)
    rows = torch.arange(num, device=cosines.device)
    turns = num_images * torch.arange(1, num_views, device=cosines.device)
    positives = cosines.gather(1, (rows[:, None] + turns) % max(1, num))
    kept = rows[:, None] % num_images != rows % num_images
    if dissimilar is not None:
        kept = kept & dissimilar.repeat(num_views, num_views)
    losses = contrast(
        positives,
        cosines,
        kept,
        temperature=temperature,
        estimator=estimator,
        tau_plus=tau_plus,
        beta=beta,
    )
    factor = num_views if reduction is Reduction.VIEW_SUM else 1
    # max(1, .): an empty batch costs 0 and stays connected to the graph, where mean() is nan.
    return factor * losses.sum() / max(1, losses.numel())


def nt_xent(
    views: Sequence[Float[Tensor, "B D"]],
    *,
    temperature: float,
    dissimilar: Bool[Tensor, "B B"] | None = None,
    estimator: Estimator | str = Estimator.UNIFORM,
    tau_plus: float = 0.1,
    beta: float = 1.0,
    reduction: Reduction | str = Reduction.MEAN,
) -> Float[Tensor, ""]:
    """Return the mean loss of every view of an image against every other view of it.

    Positives are the other views of the anchor's image, one at a time, and negatives all views of
    the other images. With two views and UNIFORM this is NT-Xent (Chen et al. 2020, eq. 1).

    Args:
        views: unit embeddings, two tensors or more.
        temperature: t, in units of cosine, above 0.
        dissimilar: which images are each other's negatives, row the anchor; None means all
            different ones. An image is never its own.
        estimator: of the sum over negatives.
        tau_plus: chance that a negative is of the anchor's class, in [0, 1).
        beta: how much nearer negatives count more, at least 0.
        reduction: mean over anchors, or SimCLR's sum over views.

    Returns:
        A scalar; 0, still part of the graph, for an empty batch.

    Raises:
        ValueError: there are fewer than two views, or an option is out of its range.
    """
    return nt_xent_of_cosines(
        all_cosines(views),
        num_views=len(views),
        temperature=temperature,
        dissimilar=dissimilar,
        estimator=estimator,
        tau_plus=tau_plus,
        beta=beta,
        reduction=reduction,
    )


def info_nce(
    anchors: Float[Tensor, "B D"],
    positives: Float[Tensor, "B D"],
    negatives: Float[Tensor, "B M D"] | Float[Tensor, "M D"],
    *,
    temperature: float,
    kept: Bool[Tensor, "B M"] | None = None,
    estimator: Estimator | str = Estimator.UNIFORM,
    tau_plus: float = 0.1,
    beta: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the mean loss of anchors against one positive each and given negatives.

    Args:
        anchors: unit rows.
        positives: unit rows, one an anchor.
        negatives: unit rows, an anchor's own (mined) or the same for all (a queue); at least one.
        temperature: t, in units of cosine, above 0.
        kept: which negatives count for which anchor; None means all.
        estimator: of the sum over negatives.
        tau_plus: chance that a negative is of the anchor's class, in [0, 1).
        beta: how much nearer negatives count more, at least 0.

    Returns:
        A scalar; 0, still part of the graph, for an empty batch.

    Raises:
        ValueError: there is no negative, or an option is out of its range.
    """
    if negatives.shape[-2] == 0:
        raise ValueError(f"negatives must hold at least one row, got {tuple(negatives.shape)}")
    own = negatives.ndim == 3
    cosines = (negatives @ anchors[:, :, None]).squeeze(2) if own else anchors @ negatives.T
    losses = contrast(
        (anchors * positives).sum(dim=1, keepdim=True),
        cosines,
        torch.ones_like(cosines, dtype=torch.bool) if kept is None else kept,
        temperature=temperature,
        estimator=estimator,
        tau_plus=tau_plus,
        beta=beta,
    )
    return losses.sum() / max(1, len(losses))


class NTXent(nn.Module):
    """NT-Xent of all images of the batch, or DCL or HCL by the estimator; labels are not used.

    Args:
        temperature: t, in units of cosine, above 0.
        estimator: of the sum over negatives.
        tau_plus: chance that a negative is of the anchor's class, in [0, 1).
        beta: how much nearer negatives count more, at least 0.
        reduction: mean over anchors, or SimCLR's sum over views.

    Raises:
        ValueError: an option is out of its range.
    """

    # It has no soft-min over centres.
    temperature: float | None = None

    def __init__(
        self,
        *,
        temperature: float = 0.5,
        estimator: Estimator | str = Estimator.UNIFORM,
        tau_plus: float = 0.1,
        beta: float = 1.0,
        reduction: Reduction | str = Reduction.MEAN,
    ) -> None:
        super().__init__()
        check_options(temperature, estimator, tau_plus, beta)
        self.contrast_temperature = temperature
        self.estimator = Estimator(estimator)
        self.tau_plus = tau_plus
        self.beta = beta
        self.reduction = choice(Reduction, reduction)

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss and its conflict over the images of known class."""
        images = join(batch)
        loss_of = partial(
            nt_xent_of_cosines,
            num_views=len(images.views),
            temperature=self.contrast_temperature,
            dissimilar=images.differ(),
            estimator=self.estimator,
            tau_plus=self.tau_plus,
            beta=self.beta,
            reduction=self.reduction,
        )
        cosines = all_cosines(images.views)
        return loss_and_conflict(
            loss_of,
            cosines,
            images.of_views(images.rows),
            images.of_views(images.truth),
            wanted=batch.diagnose,
        )


def all_cosines(views: Sequence[Float[Tensor, "B D"]]) -> Float[Tensor, "N N"]:
    """Return the cosines of all pairs of views, the first view of all images first.

    Raises:
        InputError: there are fewer than two views.
    """
    if len(views) < 2:
        raise InputError(f"views must be two or more, got {len(views)}; add to views")
    embeddings = torch.cat(list(views))
    return embeddings @ embeddings.T
