"""Exact neighbours among rows that lie in shards: in turn, or by processes that hold a few each.

The best rows of each shard are merged by cosine, then id. A cosine is a function of the two vectors
alone (index.py), so the result is to the last bit that of one index of all rows.

Dimensions: N rows of all shards, Q queries, B of a block, D columns, k neighbours, R processes.
"""

# torch comes first: see index.py.
import torch  # isort: skip

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch.distributed as dist
from jaxtyping import Float, Float32, Int64

from semcentres.exact_search import pack, unpack
from semcentres.index import Block, Index
from semcentres.neighbours import Exclusion, Neighbours, in_blocks
from semcentres.ranks import ALONE, Ranks

NONE = np.iinfo(np.int64).max  # a key that stands behind that of every row


@dataclass(frozen=True, eq=False)
class Shard:
    """Some rows, and the id of the first of them; the others follow it."""

    first: int
    index: Index


@final
class Shards:
    """All rows, of which each process holds some shards; exact, as `Index`.

    The first process sends blocks of queries to the others and merges what they find: 4 D bytes
    a query and process one way, 8 k the other, however many rows there are.

    Args:
        shards: that this process holds.
        size: N.
        dimension: D.
        ranks: the processes. The first one searches, within `shared`, in which the others serve.
    """

    def __init__(
        self, shards: Sequence[Shard], size: int, dimension: int, ranks: Ranks = ALONE
    ) -> None:
        self.shards = shards
        self._size = size
        self.dimension = dimension
        self._ranks = ranks

    def __len__(self) -> int:
        return self._size

    @property
    def kind(self) -> str:
        """How it searches."""
        return "flat"

    @cached_property
    def vectors(self) -> Float32[np.ndarray, "N D"]:
        """All rows that this process holds, put together at first use; not to be written to."""
        return np.concatenate([shard.index.vectors for shard in self.shards])

    def rows(self, ids: Int64[np.ndarray, " n"]) -> Float32[np.ndarray, "n D"]:
        """Return the rows of these ids, all of them held by this process."""
        found, order = np.empty((len(ids), self.dimension), np.float32), np.argsort(ids)
        starts = [shard.first for shard in self.shards[1:]]
        of_each = np.split(order, np.searchsorted(ids[order], starts))
        for shard, at in zip(self.shards, of_each, strict=True):
            found[at] = shard.index.vectors[ids[at] - shard.first]
        return found

    def blocks(self) -> Iterator[Block]:
        """Yield the rows that this process holds, some at a time, with their ids."""
        for shard in self.shards:
            for ids, rows in shard.index.blocks():
                yield shard.first + ids, rows

    def search(
        self, queries: Float[np.ndarray, "Q D"], k: int, *, exclude: Exclusion = None
    ) -> Neighbours:
        """Return the k nearest rows of each query; arguments and errors as of `Index.search`."""
        return next(self.search_blocks(queries, k, exclude=exclude, block=len(queries) or 1))[1]

    def search_blocks(
        self,
        queries: Float[np.ndarray, "Q D"],
        k: int,
        *,
        exclude: Exclusion = None,
        block: int = 1024,
    ) -> Iterator[tuple[slice, Neighbours]]:
        """Return `search` in parts of the same bits, each with its rows of the queries."""
        return in_blocks(self._top, self.dimension, len(self), queries, k, exclude, block)

    @contextmanager
    def shared(self) -> Iterator[bool]:
        """Say whether this process is to search; the others have served when they are told."""
        if not self._ranks.first:
            while (shape := self._shape(0, 0))[1]:
                self._together(np.empty((shape[0], self.dimension), np.float32), shape[1])
        yield self._ranks.first
        if self._ranks.first and self._ranks.count > 1:
            self._shape(0, 0)  # the end

    def _top(self, queries: Float32[np.ndarray, "Q D"], k: int) -> Neighbours:
        """Return the first k of all rows, or all."""
        k = min(k, len(self))
        if self._ranks.count == 1:
            keys = self._own(queries, k)
        else:
            self._shape(len(queries), k)
            keys = self._together(queries, k)
        return Neighbours(*unpack(keys))

    def _own(self, queries: Float32[np.ndarray, "B D"], k: int) -> Int64[np.ndarray, "B k"]:
        """Return the best keys among this process's rows, `NONE` where there are fewer than k."""
        best = np.full((len(queries), k), NONE)
        for shard in self.shards:
            found = shard.index.search(queries, k)
            best = _first(best, pack(found.cosines, found.ids + shard.first))
        return best

    def _together(self, queries: Float32[np.ndarray, "B D"], k: int) -> Int64[np.ndarray, "B k"]:
        """Return on the first process the best keys of all; on the others their own."""
        group: Any = self._ranks.control
        asked = torch.from_numpy(queries)
        dist.broadcast(asked, 0, group=group)
        own = torch.from_numpy(self._own(asked.numpy(), k))
        if not self._ranks.first:
            dist.gather(own, None, 0, group=group)
            return own.numpy()
        parts = [torch.empty_like(own) for _ in range(self._ranks.count)]
        dist.gather(own, parts, 0, group=group)
        return _first(*(part.numpy() for part in parts))

    def _shape(self, num: int, k: int) -> tuple[int, int]:
        """Return number and k of the queries that the first process has now; k is 0 at the end."""
        shape = torch.tensor([num, k])
        dist.broadcast(shape, 0, group=self._ranks.control)
        return int(shape[0]), int(shape[1])


def _first(*keys: Int64[np.ndarray, "B _"]) -> Int64[np.ndarray, "B k"]:
    """Return the first of the keys of all, as many as in the first of them."""
    k = keys[0].shape[1]
    return np.sort(np.concatenate(keys, axis=1), axis=1)[:, :k]
