r"""Certificates by noise: the class that an encoder gives most often under Gaussian noise.

The smoothed classifier g(x) is the likeliest class of x + noise, noise ~ N(0, sigma^2 I). If its
probability is at least p > 1/2, then g does not change within the l2 radius

    sigma * Phi^-1(p)

Cohen, Rosenfeld & Kolter 2019 (arXiv:1902.02918), theorem 1 and the function CERTIFY. It holds for
g and not for the encoder without noise, so that g is what must be used; each image's class and
radius are right with probability 1 - alpha; and g needs encoders that were trained on noise, as
with `views.first.noise`.

Dimensions: N images, C channels, H by W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from scipy.stats import binomtest, norm
from torch import Tensor

from centre_builders.errors import UsageError

ABSTAIN = -1  # where no class has more than half of the noisy images for sure
BATCH = 500  # noisy images at a time

# Noisy images [B C H W] to their rows of classes [B].
Classify = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """How certificates by noise are sampled.

    Args:
        sigma: standard deviation of the noise, in the units of the inputs, above 0.
        first: n0, noisy images that choose the class; the verb always takes 100, as the paper does.
        samples: n, further ones that its probability is estimated on. They cap the radius: with
            1,000 it is below 2.5 sigma.
        alpha: probability that an image's certificate is wrong, in (0, 1).

    Raises:
        UsageError: a number is out of its range.
    """

    sigma: float = 0.25
    first: int = 100
    samples: int = 1000
    alpha: float = 0.001

    def __post_init__(self) -> None:
        """Refuse what no certificate can be made of."""
        if self.sigma <= 0 or not 0 < self.alpha < 1 or min(self.first, self.samples) < 1:
            raise UsageError(
                f"sigma={self.sigma} must be above 0, alpha={self.alpha} within (0, 1), first="
                f"{self.first} and samples={self.samples} 1 or more"
            )

    def certify(
        self, classify: Classify, images: Tensor, generator: torch.Generator
    ) -> tuple[Int64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
        """Return the smoothed class of each image, ABSTAIN where there is none, and its radius.

        Args:
            classify: noisy images to rows of classes.
            images: as the encoder takes them.
            generator: of the noise.

        Returns:
            Rows and certified l2 radii; the radius is 0 where it abstains.
        """
        rows, radii = np.full(len(images), ABSTAIN), np.zeros(len(images))
        for number, image in enumerate(images):
            counts = self._counts(classify, image, self.first, generator)
            row = int(counts.argmax())
            counts = self._counts(classify, image, self.samples, generator)
            votes = int(counts[row]) if row < len(counts) else 0
            radius = self.radius(votes)
            if radius > 0:
                rows[number], radii[number] = row, radius
        return rows, radii

    def radius(self, votes: int) -> float:
        """Return the radius that `votes` of the `samples` certify; 0 or below: none.

        The lower end of the one-sided interval of Clopper & Pearson stands for p.
        """
        test = binomtest(votes, self.samples, alternative="greater")
        lowest = test.proportion_ci(confidence_level=1 - self.alpha, method="exact").low
        return float(self.sigma * norm.ppf(lowest))

    def _counts(
        self, classify: Classify, image: Tensor, num: int, generator: torch.Generator
    ) -> Int64[np.ndarray, " k"]:
        """Return how many of `num` noisy images each class has, up to the last that has any."""
        found = []
        for start in range(0, num, BATCH):
            shape = (min(BATCH, num - start), *image.shape)
            noise = torch.randn(shape, generator=generator, device=image.device)
            found.append(classify(image + self.sigma * noise))
        return torch.cat(found).bincount().cpu().numpy()
