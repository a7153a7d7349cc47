"""An endless stream of batches, each a pure function of (seed, step)."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

from semcentres.randomness import generator


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows in an order shuffled anew for every pass; no state, so nothing to restore.

    Args:
        rows: what to draw from, at least one row unless `batch_size` is 0.
        batch_size: rows a batch; a pass that ends within a batch goes on with the next pass.
        seed: of the order.
        name: keeps two streams of one seed apart.
        classes: of the rows; where given, each class is spread evenly over a pass, so that every
            batch holds all in their shares (stratified). None shuffles freely.
    """

    rows: Int[Tensor, " N"]
    batch_size: int
    seed: int
    name: str
    classes: Int[Tensor, " N"] | None = None

    def at(self, step: int) -> Int[Tensor, " B"]:
        """Return the batch of a step, counted from 0."""
        if not len(self.rows) or not self.batch_size:
            return self.rows[:0]
        position, end = step * self.batch_size, (step + 1) * self.batch_size
        parts = []
        while position < end:
            epoch, start = divmod(position, len(self.rows))
            stop = min(start + end - position, len(self.rows))
            order = _order(self, epoch)
            parts.append(self.rows[order[start:stop]])
            position += stop - start
        return torch.cat(parts)


@lru_cache(maxsize=8)
def _order(stream: Stream, epoch: int) -> Tensor:
    draw = generator(stream.seed, stream.name, epoch)
    order = torch.randperm(len(stream.rows), generator=draw)
    if stream.classes is None:
        return order
    place = torch.empty(len(order), dtype=torch.float64)
    for number in stream.classes.unique():
        own = order[stream.classes[order] == number]
        # The n-th of a class stands somewhere in the n-th of its equal parts of the pass.
        jitter = torch.rand(len(own), generator=draw, dtype=torch.float64)
        place[own] = (torch.arange(len(own)) + jitter) / len(own)
    return place.argsort()
