"""The toy of seed note 000: points (x, y), x perfectly clustered, y random.

x has two coordinates and three clusters, not one and two: on the sphere, two opposite centres
would hide a response to y that is parallel to them.
"""

import math

import torch
from torch import Tensor

from semcentres.data.source import ImageSet, Source
from semcentres.randomness import generator

CLASS_NAMES = ("top", "left", "right")


def toy_points(*, num: int = 2000, seed: int = 0) -> Source:
    """Return `num` training and as many test points (x_1, x_2, y).

    x is one of the corners of an equilateral triangle, by the class; y is standard normal.
    """
    train, test = (_points(num, generator(seed, "toy_points", s)) for s in ("train", "test"))
    return Source("toy_points", CLASS_NAMES, train, test, f"drawn with seed {seed}")


def _points(num: int, draws: torch.Generator) -> ImageSet:
    labels: Tensor = torch.randint(3, (num,), generator=draws)
    angles = math.pi / 2 + 2 * math.pi / 3 * labels
    nuisance = torch.randn(num, generator=draws)
    return ImageSet(torch.stack([angles.cos(), angles.sin(), nuisance], dim=1), labels)
