r"""The soft-min over very many centres by the nearest few, with a bound on what is left out.

Of the K terms of softmin(z) = -t log sum_j exp(-d_j^2 / t) only the k nearest centres' are summed,
d_1 <= ... <= d_k. The K - k others are d_k away at least, so that with
S = sum_{j<=k} exp(-(d_j^2 - d_1^2) / t)

    0 <= softmin_k - softmin <= t log(1 + (K - k) exp(-(d_k^2 - d_1^2) / t) / S)

Where this is more than is tolerated, an approximate index looks wider, and where it still is, all
centres are compared (semcentres/softmin.py).

This supposes that the search found the true k nearest. An exact index does, and the bound is a
proof. An approximate one finds a part r of them, its measured recall: for each found beyond the
first, 1/r - 1 others are taken to be missed that are as near. Then

    t log(1 + ((K - k) exp(-(d_k^2 - d_1^2) / t) + (1/r - 1) (S - 1)) / S)

is an estimate and no proof (`Bounded.certain`). Where the nearest centre itself is missed, what is
found is about equally far, the estimate is large, and all centres are compared.

Dimensions: B embeddings, K centres, D width, k neighbours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from semcentres.approximate_index import ApproximateIndex
from semcentres.index import Index
from semcentres.softmin import scale_of, softmin

WIDER = 8  # times as far is looked, before all centres are compared


@dataclass(frozen=True)
class Bounded:
    """Soft-mins and how far each may be above the true one.

    Args:
        values: with their gradient.
        bound: at least 0; 0 where all centres were compared.
        compared: where all centres were compared.
        certain: whether the index is exact, so that the bound is a proof and no estimate.
    """

    values: Float[Tensor, " B"]
    bound: Float[Tensor, " B"]
    compared: Bool[Tensor, " B"]
    certain: bool


def top_k_softmin(
    embeddings: Float[Tensor, "B D"],
    centres: Float[Tensor, "K D"],
    index: Index | ApproximateIndex,
    *,
    temperature: float,
    k: int = 32,
    tolerance: float = 1e-3,
) -> Bounded:
    """Return the soft-min of each embedding to within a tolerance.

    Args:
        embeddings: unit rows.
        centres: unit rows; they receive no gradient.
        index: of the centres, row by row (`semcentres.approximate.build_index`).
        temperature: t, in squared distance, above 0.
        k: centres that are summed.
        tolerance: largest bound that is accepted, in squared distance.

    Raises:
        ValueError: the temperature is not positive, or the index is of other centres.
    """
    scale_of(temperature)
    if len(index) != len(centres):
        raise ValueError(f"the index has {len(index)} rows for {len(centres)} centres")
    certain = isinstance(index, Index)
    values = bound = embeddings.new_zeros(len(embeddings))
    far = torch.ones_like(values, dtype=torch.bool)
    for looked in [index] if isinstance(index, Index) else [index, index.wider(WIDER)]:
        summed, above = _of_near(embeddings[far], centres, looked, temperature, k)
        values, bound = values.masked_scatter(far, summed), bound.masked_scatter(far, above)
        far = bound > tolerance
        if not far.any():
            return Bounded(values, bound, far, certain)
    exact = softmin(embeddings[far], centres, temperature=temperature)
    return Bounded(values.masked_scatter(far, exact), bound.masked_fill(far, 0.0), far, certain)


def _of_near(
    embeddings: Float[Tensor, "B D"],
    centres: Float[Tensor, "K D"],
    index: Index | ApproximateIndex,
    temperature: float,
    k: int,
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return the soft-min by what an index finds, and its bound."""
    found = index.search(embeddings.detach().cpu().numpy(), k)
    near = centres.detach()[torch.from_numpy(found.ids).to(centres.device)]
    logits = scale_of(temperature) * torch.einsum("bd,bkd->bk", embeddings, near)
    # Looking wider finds no less than was measured.
    recall = 1.0 if isinstance(index, Index) else index.recall.value
    bound = _bound(logits.detach(), len(centres), temperature, recall)
    return 2 - temperature * logits.logsumexp(dim=1), bound


def _bound(
    logits: Float[Tensor, "B k"], num_centres: int, temperature: float, recall: float
) -> Float[Tensor, " B"]:
    nearest = logits.amax(dim=1)
    summed = (logits - nearest[:, None]).exp().sum(dim=1)
    left = (num_centres - logits.shape[1]) * (logits.amin(dim=1) - nearest).exp()
    missed = (1 / recall - 1) * (summed - 1)
    return temperature * torch.log1p((left + missed) / summed)
