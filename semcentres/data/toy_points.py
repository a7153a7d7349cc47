"""The toy of seed note 000: points (x, y), x perfectly clustered, y random."""

import torch
from torch import Tensor

from semcentres.data.source import ImageSet, Source
from semcentres.randomness import generator


def toy_points(*, num: int = 2000, seed: int = 0) -> Source:
    """Return `num` training and as many test points in the plane.

    x is -1 for the class "left" and +1 for "right"; y is standard normal whatever the class.
    """
    train, test = (_points(num, generator(seed, "toy_points", s)) for s in ("train", "test"))
    return Source("toy_points", ("left", "right"), train, test, f"drawn with seed {seed}")


def _points(num: int, draws: torch.Generator) -> ImageSet:
    labels: Tensor = torch.randint(2, (num,), generator=draws)
    nuisance = torch.randn(num, generator=draws)
    return ImageSet(torch.stack([2.0 * labels - 1, nuisance], dim=1), labels)
