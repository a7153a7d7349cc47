"""How far confidences can be believed, and which images are of none of the classes.

Dimensions: N images, K centres, D embedding width, M bins.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.softmin import log_normaliser, scale_of

BINS = 15  # as in Guo et al.
COLDEST, HOTTEST = 0.01, 10.0  # temperatures that are looked at


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy of the images, by bins of equal width of the confidence.

    Attributes:
        counts: images of each bin; bin m holds confidences in (m/M, (m+1)/M], the first also 0.
        confidences: mean of each bin, 0 for a bin without images.
        accuracies: share of each bin that is right, 0 for a bin without images.
    """

    counts: Int[np.ndarray, " M"]
    confidences: Float[np.ndarray, " M"]
    accuracies: Float[np.ndarray, " M"]

    @property
    def error(self) -> float:
        """The expected calibration error, in [0, 1].

            ECE = sum_m (n_m / N) |accuracy_m - confidence_m|

        Eq. 3 of Guo et al. 2017 (arXiv:1706.04599), with their 15 bins.
        """
        gaps = np.abs(self.accuracies - self.confidences)
        return float((self.counts * gaps).sum() / self.counts.sum())


def reliability(
    confidences: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"], *, bins: int = BINS
) -> Reliability:
    """Return confidence against accuracy.

    Args:
        confidences: of the predicted classes, in [0, 1]; at least one.
        right: whether each prediction is.
        bins: M.

    Raises:
        InputError: there are no images.
    """
    if len(confidences) == 0:
        raise InputError("there are no images to calibrate on; give one at least")
    wide = confidences.astype(np.float64)
    rows = np.clip(np.ceil(wide * bins).astype(np.int64) - 1, 0, bins - 1)
    counts, sums, hits = (
        np.bincount(rows, weights, minlength=bins) for weights in (None, wide, right)
    )
    some = np.maximum(counts, 1)
    return Reliability(counts, sums / some, hits / some)


def negative_log_likelihood(
    embeddings: Float[Tensor, "N D"],
    centres: Float[Tensor, "K D"],
    labels: Int[Tensor, " N"],
    *,
    temperature: float,
) -> float:
    """Return the mean of -log p of the true class, p = softmax(-d^2 / t).

    Args:
        embeddings: unit rows, at least one.
        centres: unit rows.
        labels: row of each image's centre.
        temperature: t, in units of squared distance, above 0.
    """
    scale = scale_of(temperature)
    own = (embeddings * centres[labels]).sum(dim=1)
    return float((log_normaliser(embeddings, centres, scale=scale) - scale * own).mean())


def fit_temperature(
    embeddings: Float[Tensor, "N D"], centres: Float[Tensor, "K D"], labels: Int[Tensor, " N"]
) -> float:
    """Return the temperature in [0.01, 10] of the least negative log-likelihood.

    Temperature scaling as of Guo et al. 2017, section 4.2. The likelihood is convex in 1/t, so
    that the minimum is the only one; where every image is right it is at t = 0, and 0.01 is
    returned.

    Args:
        embeddings: unit rows, at least one.
        centres: unit rows.
        labels: row of each image's centre.

    Raises:
        InputError: there are no images.
    """
    if len(labels) == 0:
        raise InputError("there are no images to calibrate on; give one at least")
    rows, wide = embeddings.double(), centres.double()

    def loss(log_temperature: float) -> float:
        t = math.exp(log_temperature)
        return negative_log_likelihood(rows, wide, labels, temperature=t)

    bounds = (math.log(COLDEST), math.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    # The bounds first: where every image is right, the loss is 0 in a whole range.
    return math.exp(min(*bounds, found.x, key=loss))


def fit_threshold(energies: Float[np.ndarray, " N"], *, rejected: float) -> float:
    """Return the least of the energies above which at most a share of them lie.

    Args:
        energies: of images of known classes, at least one.
        rejected: the share, in [0, 1).

    Raises:
        InputError: there are no energies, or the share is out of range.
    """
    if len(energies) == 0 or not 0 <= rejected < 1:
        raise InputError(f"got {len(energies)} energies and a share of {rejected}, wanted [0, 1)")
    keep = len(energies) - math.floor(rejected * len(energies))
    return float(np.sort(energies)[keep - 1])
