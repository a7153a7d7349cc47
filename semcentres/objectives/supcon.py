r"""SuNCEt and SupCon: labelled images near those of their class, far from the others.

With s_ij the cosines, t the temperature, q_ij = e^{s_ij / t} / sum_{a != i} e^{s_ia / t}, and P_i
the others of the anchor's class, views of its own image among them:

    SuNCEt:  loss_i = -log( (1 - e) sum_{j in P_i} q_ij + e / K )
    SupCon:  loss_i = -(t / t_base) 1 / |P_i| sum_{j in P_i} log q_ij

Dimensions: N embeddings (all views of all labelled images), K classes, D width.
"""

import math
from enum import StrEnum
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.conflict import loss_and_conflict
from semcentres.objectives.contrast import choice, log_sum_exp


class Alone(StrEnum):
    """What becomes of an anchor that is alone in its class; its loss is 0.

    Attributes:
        KEPT: it counts in the mean, as in the authors' code.
        DROPPED: the mean is over the others, as in pytorch-metric-learning.
    """

    KEPT = "kept"
    DROPPED = "dropped"


def suncet(
    embeddings: Float[Tensor, "N D"],
    labels: Int[Tensor, " N"],
    *,
    temperature: float,
    label_smoothing: float = 0.0,
    num_classes: int | None = None,
) -> Float[Tensor, ""]:
    """Return the mean negative log share of an anchor's class among its soft neighbours.

    Assran et al. 2020 (arXiv:2006.10803), which is neighbourhood components analysis on the
    sphere. An anchor that is alone in its class has no finite loss and is left out of the mean;
    the paper's batches hold several images of every class.

    Args:
        embeddings: unit rows.
        labels: classes, in [0, num_classes).
        temperature: t, in units of cosine, above 0.
        label_smoothing: e, in [0, 1): the share of every image's label spread over all classes.
        num_classes: K; needed with `label_smoothing`, else unused.

    Returns:
        A scalar; 0, still part of the graph, where no class has two embeddings.

    Raises:
        ValueError: an option is out of its range.
    """
    return suncet_of_cosines(
        embeddings @ embeddings.T,
        labels,
        temperature=temperature,
        label_smoothing=label_smoothing,
        num_classes=num_classes,
    )


def suncet_of_cosines(
    cosines: Float[Tensor, "N N"],
    labels: Int[Tensor, " N"],
    *,
    temperature: float,
    label_smoothing: float = 0.0,
    num_classes: int | None = None,
) -> Float[Tensor, ""]:
    """Return `suncet` of the cosines of all pairs."""
    _check_options(temperature, label_smoothing=label_smoothing)
    logits, others = cosines / temperature, _others(cosines)
    same = others & (labels[:, None] == labels)
    log_class = (log_sum_exp(logits, same) - log_sum_exp(logits, others)).squeeze(1)
    if label_smoothing:
        if num_classes is None:
            raise ValueError("label_smoothing needs num_classes, got None")
        spread = torch.full_like(log_class, math.log(label_smoothing / num_classes))
        log_class = torch.logaddexp(log_class + math.log1p(-label_smoothing), spread)
    return _mean(-log_class, same.any(dim=1), Alone.DROPPED)


def supcon(
    embeddings: Float[Tensor, "N D"],
    labels: Int[Tensor, " N"],
    *,
    temperature: float,
    base_temperature: float | None = None,
    alone: Alone | str = Alone.KEPT,
) -> Float[Tensor, ""]:
    """Return the mean over anchors of the mean negative log share of each image of their class.

    L_out of Khosla et al. 2020 (arXiv:2004.11362), eq. 2.

    Args:
        embeddings: unit rows.
        labels: classes.
        temperature: t, in units of cosine, above 0.
        base_temperature: t_base, a mere scale of the loss; None leaves the factor t / t_base out.
            The authors' code has 0.07.
        alone: what becomes of an anchor that is alone in its class.

    Returns:
        A scalar; 0, still part of the graph, where no class has two embeddings.

    Raises:
        ValueError: an option is out of its range.
    """
    return supcon_of_cosines(
        embeddings @ embeddings.T,
        labels,
        temperature=temperature,
        base_temperature=base_temperature,
        alone=alone,
    )


def supcon_of_cosines(
    cosines: Float[Tensor, "N N"],
    labels: Int[Tensor, " N"],
    *,
    temperature: float,
    base_temperature: float | None = None,
    alone: Alone | str = Alone.KEPT,
) -> Float[Tensor, ""]:
    """Return `supcon` of the cosines of all pairs."""
    _check_options(temperature, base_temperature=base_temperature)
    logits, others = cosines / temperature, _others(cosines)
    same = others & (labels[:, None] == labels)
    total = torch.where(same, logits - log_sum_exp(logits, others), 0).sum(dim=1)
    losses = -total / same.sum(dim=1).clamp(min=1)
    factor = 1.0 if base_temperature is None else temperature / base_temperature
    return factor * _mean(losses, same.any(dim=1), choice(Alone, alone))


class SuNCEt(nn.Module):
    """SuNCEt of all views of the labelled images; the paper adds it to NT-Xent at weight 1.

    Args:
        temperature: t, in units of cosine, above 0.
        label_smoothing: share of every label spread over all classes, in [0, 1).

    Raises:
        ValueError: an option is out of its range.
    """

    # It has no soft-min over centres.
    temperature: float | None = None

    def __init__(self, *, temperature: float = 0.1, label_smoothing: float = 0.0) -> None:
        super().__init__()
        _check_options(temperature, label_smoothing=label_smoothing)
        self.contrast_temperature = temperature
        self.label_smoothing = label_smoothing

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss and its conflict; no pair of one class is ever pushed apart by it."""
        cosines, rows, labels = _labelled(batch)
        loss_of = partial(
            suncet_of_cosines,
            labels=labels,
            temperature=self.contrast_temperature,
            label_smoothing=self.label_smoothing,
            num_classes=len(batch.centres),
        )
        return loss_and_conflict(loss_of, cosines, rows, labels, wanted=batch.diagnose)


class SupCon(nn.Module):
    """SupCon of all views of the labelled images.

    Args:
        temperature: t, in units of cosine, above 0.
        base_temperature: t_base, a mere scale of the loss; None leaves the factor out.
        alone: what becomes of an anchor that is alone in its class.

    Raises:
        ValueError: an option is out of its range.
    """

    # It has no soft-min over centres.
    temperature: float | None = None

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        base_temperature: float | None = None,
        alone: Alone | str = Alone.KEPT,
    ) -> None:
        super().__init__()
        _check_options(temperature, base_temperature=base_temperature)
        self.contrast_temperature = temperature
        self.base_temperature = base_temperature
        self.alone = choice(Alone, alone)

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss and its conflict: positives pushed off for being the nearest."""
        cosines, rows, labels = _labelled(batch)
        loss_of = partial(
            supcon_of_cosines,
            labels=labels,
            temperature=self.contrast_temperature,
            base_temperature=self.base_temperature,
            alone=self.alone,
        )
        return loss_and_conflict(loss_of, cosines, rows, labels, wanted=batch.diagnose)


def _labelled(batch: EmbeddedBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cosines of all labelled views, and each view's image and label."""
    embeddings, num_views = torch.cat(batch.labelled), len(batch.labelled)
    rows = batch.labelled_rows.to(batch.labels.device)
    return embeddings @ embeddings.T, rows.repeat(num_views), batch.labels.repeat(num_views)


def _others(cosines: Tensor) -> Bool[Tensor, "N N"]:
    return ~torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)


def _mean(losses: Tensor, counted: Tensor, alone: Alone) -> Float[Tensor, ""]:
    total = torch.where(counted, losses, 0).sum()
    # At least 1: an empty batch costs 0 and stays connected to the graph, where mean() is nan.
    if alone is Alone.DROPPED:
        return total / counted.sum().clamp(min=1)
    return total / max(1, len(losses))


def _check_options(
    temperature: float, *, label_smoothing: float = 0.0, base_temperature: float | None = None
) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    if base_temperature is not None and base_temperature <= 0:
        raise ValueError(f"base_temperature must be positive or None, got {base_temperature}")
