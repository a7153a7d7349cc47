"""Randomness that is a function of names and numbers, so that a resumed run repeats it exactly.

Dimensions: b images that a process has of a batch.
"""

from dataclasses import dataclass
from hashlib import blake2b

import torch
from jaxtyping import Float
from torch import Tensor


def generator(*keys: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose draws depend on `keys` alone, as in `generator(seed, step, "view")`.

    No generator outlives the step that made it: the state to save for an exact resume is the
    number of the step.
    """
    digest = blake2b(repr(keys).encode(), digest_size=8).digest()
    # A generator's seed must fit in a signed 64-bit integer on every device.
    return torch.Generator(device).manual_seed(int.from_bytes(digest) >> 1)


@dataclass(frozen=True)
class Share:
    """Which images of a batch a process has: `start` to `stop` of `num`."""

    start: int
    stop: int
    num: int

    def __len__(self) -> int:
        """Return how many it has."""
        return self.stop - self.start

    @property
    def rows(self) -> slice:
        """Its place in the batch."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Draws:
    """Random numbers for the images of a batch, of which a process may have a share.

    Those of all images are drawn and the others' are left out, so that what an image gets does
    not depend on how many processes share the batch.

    Args:
        generator: to draw from.
        share: the images that are here.
    """

    generator: torch.Generator
    share: Share

    def uniform(self, rows: int) -> Float[Tensor, "rows b"]:
        """Return `rows` numbers in [0, 1) for each image."""
        own = self.generator
        drawn = torch.rand(rows, self.share.num, generator=own, device=own.device)
        return drawn[:, self.share.rows]

    def normal(self, *shape: int) -> Float[Tensor, " b *_"]:
        """Return normal numbers of a shape for each image."""
        own = self.generator
        drawn = torch.randn(self.share.num, *shape, generator=own, device=own.device)
        return drawn[self.share.rows]
