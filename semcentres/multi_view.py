r"""Several views of an image, averaged, and the moment from which its class is certain.

With z_v the unit embedding of view v of n, c_k the centres, t the temperature and d^2 squared
distances, three things can be averaged:

    embedding     z = sum_v z_v / |sum_v z_v|,              p_k = softmax(-|z - c_k|^2 / t)
    distance      d_k^2 = mean_v |z_v - c_k|^2,             p_k = softmax(-d_k^2 / t)
    probability   p_k = mean_v softmax(-|z_v - c_k|^2 / t)

The mean distance is 2 - 2 c_k.(mean_v z_v): the first two choose the same class, and the second
is less sure the more the views differ. To average log-probabilities is to average distances:
log p_kv = -d_kv^2 / t - log(normaliser of v), whose second term is the same for all classes. The
energy is the soft-min of the averaged distances, but for `probability` the mean of the views'.

Early stop. Let i lead after m views, with s_k = sum_{v <= m} z_v.c_k. A further view changes
s_i - s_j by z.(c_i - c_j) >= -|c_i - c_j|, because |z| = 1 (Cauchy-Schwarz). So if

    s_i - s_j > (n - m) |c_i - c_j|   for all j other than i

then i leads after all n views, whatever they show. The bound is met by z = (c_j - c_i) /
|c_j - c_i|: without knowing the views no rule can stop sooner. For probabilities a view changes
p_i - p_j by no less than -1, and the right side is n - m.

Dimensions: N images, K centres, D embedding width, n rows that are still open.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from centre_builders.errors import UsageError
from semcentres.index import nearest_centres
from semcentres.softmin import assignment, log_normaliser, scale_of, softmin

# Number of the view and rows of the images, to their unit embeddings.
Encode = Callable[[int, Int64[Tensor, " n"]], Float32[Tensor, "n D"]]

MAX_HELD = 2**22  # numbers of a block of images' scores
ROUNDING = 1e-4  # of a sum of products, by which a lead must be larger still


class Average(StrEnum):
    """What is averaged over the views."""

    EMBEDDING = "embedding"
    DISTANCE = "distance"
    PROBABILITY = "probability"


@dataclass(frozen=True)
class Scores:
    """The two likeliest classes of each image; one class alone stands for both.

    Attributes:
        rows: of their centres, the likelier first; equal ones by rising row.
        confidences: their probabilities.
        energies: soft-min of the squared distances to all centres.
        passes: views that were encoded.
    """

    rows: Int64[np.ndarray, "N 2"]
    confidences: Float32[np.ndarray, "N 2"]
    energies: Float32[np.ndarray, " N"]
    passes: Int64[np.ndarray, " N"]


def score_views(
    encode: Encode,
    num: int,
    centres: Float32[Tensor, "K D"],
    *,
    temperature: float,
    views: int = 1,
    average: str = Average.EMBEDDING,
) -> Scores:
    """Return the scores of images, encoding of each no more views than its class depends on.

    Args:
        encode: gives embeddings; called for the images that are still open, view after view.
        num: N; `probability` takes memory for N x K numbers.
        centres: unit rows.
        temperature: t, in units of squared distance, above 0.
        views: n, from 1.
        average: what is averaged: embedding, distance or probability.

    Raises:
        UsageError: `views` is below 1, or `average` is none of these.
    """
    if views < 1 or average not in list(Average):
        raise UsageError(
            f"views={views} must be 1 or more, average={average} one of {', '.join(Average)}"
        )
    mixed = average == Average.PROBABILITY
    total = torch.zeros(num, len(centres) if mixed else centres.shape[1])
    energies, passes = torch.zeros(num), torch.zeros(num, dtype=torch.int64)
    rows = torch.arange(num)
    for view in range(views):
        embeddings = encode(view, rows)
        if mixed:
            total[rows] += assignment(embeddings, centres, temperature=temperature)
            energies[rows] += softmin(embeddings, centres, temperature=temperature)
        else:
            total[rows] += embeddings
        passes[rows] += 1
        left = views - view - 1
        if left:
            known = None if mixed else centres
            # A few images at a time, for they are compared with all centres.
            parts = rows.split(max(1, MAX_HELD // len(centres)))
            rows = torch.cat([part[~certain(total[part], known, left)] for part in parts])
        if not left or not len(rows):
            break
    if mixed:
        return _of_probabilities(total, energies, passes)
    mean = F.normalize(total) if average == Average.EMBEDDING else total / passes[:, None]
    return _of_rows(mean, centres, temperature, passes)


def certain(
    total: Float[Tensor, "n _"], centres: Float[Tensor, "K D"] | None, left: int
) -> Bool[Tensor, " n"]:
    """Return whether the leading class leads after `left` further views, whatever they show.

    Args:
        total: sum of embeddings [n D], or without centres of probabilities [n K].
        centres: unit rows.
        left: views to come.
    """
    scores = total if centres is None else total @ centres.T
    best, leaders = scores.max(dim=1, keepdim=True)
    reach = torch.ones_like(scores)
    if centres is not None:
        cosines = centres[leaders.squeeze(1)] @ centres.T
        reach = (2 - 2 * cosines).clamp(min=0).sqrt()
    ahead = best - scores > left * reach + ROUNDING
    return ahead.scatter(1, leaders, True).all(dim=1)


def _of_rows(mean: Tensor, centres: Tensor, temperature: float, passes: Tensor) -> Scores:
    """Return the scores of mean embeddings, whose squared distances are 2 - 2 z.c."""
    scale, lengths = scale_of(temperature), mean.norm(dim=1)
    near = nearest_centres(F.normalize(mean).numpy(), centres.numpy(), min(2, len(centres)))
    normaliser = log_normaliser(mean, centres, scale=scale)
    products = lengths[:, None] * torch.from_numpy(near.cosines)
    likely = (scale * products - normaliser[:, None]).exp().clamp(max=1)
    return _scores(torch.from_numpy(near.ids), likely, 2 - temperature * normaliser, passes)


def _of_probabilities(total: Tensor, energies: Tensor, passes: Tensor) -> Scores:
    found = []
    for part, num in zip(
        *(x.split(max(1, MAX_HELD // total.shape[1])) for x in (total, passes)), strict=True
    ):
        likely, rows = (part / num[:, None]).sort(dim=1, descending=True, stable=True)
        found.append((rows[:, :2].clone(), likely[:, :2].clone()))
    rows, likely = (torch.cat(parts) for parts in zip(*found, strict=True))
    return _scores(rows, likely, energies / passes, passes)


def _scores(rows: Tensor, likely: Tensor, energies: Tensor, passes: Tensor) -> Scores:
    if rows.shape[1] == 1:
        rows, likely = rows.expand(-1, 2), torch.cat([likely, torch.zeros_like(likely)], dim=1)
    return Scores(rows.numpy(), likely.numpy(), energies.numpy(), passes.numpy())
