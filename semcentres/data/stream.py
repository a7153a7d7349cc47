"""An endless stream of batches, each a pure function of (seed, step)."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from semcentres.randomness import generator


@dataclass(frozen=True)
class Stream:
    """Rows in an order shuffled anew for every pass; no state, so nothing to restore.

    Args:
        rows: what to draw from, at least one row unless `batch_size` is 0.
        batch_size: rows a batch; a pass that ends within a batch goes on with the next pass.
        seed: of the order.
        name: keeps two streams of one seed apart.
    """

    rows: Int[Tensor, " N"]
    batch_size: int
    seed: int
    name: str

    def at(self, step: int) -> Int[Tensor, " B"]:
        """Return the batch of a step, counted from 0."""
        if not len(self.rows) or not self.batch_size:
            return self.rows[:0]
        position, end = step * self.batch_size, (step + 1) * self.batch_size
        parts = []
        while position < end:
            epoch, start = divmod(position, len(self.rows))
            stop = min(start + end - position, len(self.rows))
            order = _order(len(self.rows), self.seed, self.name, epoch)
            parts.append(self.rows[order[start:stop]])
            position += stop - start
        return torch.cat(parts)


@lru_cache(maxsize=8)
def _order(num: int, seed: int, name: str, epoch: int) -> Tensor:
    return torch.randperm(num, generator=generator(seed, name, epoch))
