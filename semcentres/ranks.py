"""The processes that train together under torchrun, one a rank: their shares, what they exchange.

Every rank embeds its share of a batch; `gather` gives all of them the whole batch, so that each
computes the same loss, and no objective need know of ranks. Rank 0 alone writes.

Dimensions: B images of a batch, b of them a rank's own, D embedding width.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from centre_builders.errors import InputError, UsageError
from semcentres.randomness import Share


def launched() -> tuple[int, int]:
    """Return rank and number of ranks as torchrun says; (0, 1) without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@dataclass(frozen=True)
class Ranks:
    """Who trains together; `count` 1 is a process alone, for which everything here is free.

    Args:
        rank: of this process, in [0, count).
        count: of the processes.
        control: a group on the CPU for what is not on the training device; None for one alone.
        parent: number of the process that started this one.
    """

    rank: int = 0
    count: int = 1
    control: Any = None
    parent: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, num: int, rank: int | None = None) -> Share:
        """Return which of `num` images a rank has, this one unless another is asked for."""
        at = self.rank if rank is None else rank
        return Share(at * num // self.count, (at + 1) * num // self.count, num)

    def check_batch(self, num: int) -> None:
        """Refuse a batch of labelled images of which not every rank has one.

        Raises:
            UsageError: there are more ranks than images.
        """
        if 0 < num < self.count:
            raise UsageError(
                f"a labelled batch of {num} is too small for {self.count} processes; raise"
                " trainer.labelled_batch, or let torchrun start fewer"
            )

    def gather(self, views: Sequence[Tensor], nums: Sequence[int]) -> list[Tensor]:
        """Return the whole batch's embeddings from every rank's share of them.

        The gradient of a loss that all ranks compute alike comes back to each rank's own rows,
        times `count`, which undoes the mean that DDP takes.

        Args:
            views: embeddings of this rank's share, one tensor [b D] a view.
            nums: B of each view.

        Returns:
            One tensor [B D] a view, the images in the order of the batch.
        """
        if self.count == 1:
            return list(views)
        sizes = [[len(self.share(num, rank)) for num in nums] for rank in range(self.count)]
        longest = max(map(sum, sizes))
        own = torch.cat(list(views))
        parts = _Gather.apply(F.pad(own, (0, 0, 0, longest - len(own))), self)
        split = [p[: sum(s)].split(s) for p, s in zip(parts.unbind(), sizes, strict=True)]
        return [torch.cat(of_view) for of_view in zip(*split, strict=True)]

    def take_from_first(self, module: nn.Module) -> None:
        """Give a module the first rank's weights and buffers, as DDP does with the encoder's."""
        if self.count > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.detach(), 0)

    def signal(self, noted: int) -> int:
        """Return the signal that any rank has noted, or 0, the same on all ranks.

        That torchrun itself has gone counts as SIGTERM: nobody would stop this process any more.
        """
        if self.count == 1:
            return noted
        gone = os.getppid() != self.parent
        flag = torch.tensor(noted or (signal.SIGTERM if gone else 0))
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.control)
        return int(flag)

    def wait(self) -> None:
        """Wait until all ranks are here."""
        if self.count > 1:
            dist.barrier(group=self.control)

    def add(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor on the CPU over ranks; the argument may be overwritten."""
        if self.count > 1:
            dist.all_reduce(tensor, group=self.control)
        return tensor

    def check_same(self, what: str, value: object) -> None:
        """Refuse to go on where ranks differ.

        Raises:
            InputError: they do; each rank's value is told.
        """
        if self.count == 1:
            return
        found: list[object] = [None] * self.count
        dist.all_gather_object(found, value, group=self.control)
        if any(other != found[0] for other in found):
            told = "; ".join(f"rank {rank}: {other}" for rank, other in enumerate(found))
            raise InputError(
                f"the ranks have not the same {what} ({told}); give all the same files, and a run"
                " folder that they share"
            )


ALONE = Ranks()


@cache
def join(timeout: float) -> Ranks:
    """Return the ranks of this process, which Fabric has connected before.

    Args:
        timeout: seconds that a rank waits for the others.
    """
    rank, count = launched()
    if count == 1:
        return ALONE
    control = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
    return Ranks(rank, count, control, os.getppid())


def leave() -> None:
    """End the connection; what follows is done by each process alone."""
    if dist.is_initialized():
        dist.destroy_process_group()
        join.cache_clear()


class _Gather(torch.autograd.Function):
    """[b D] of each rank to [R b D]; back comes the gradient of the own part times R."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks) -> Tensor:  # noqa: ANN401
        ctx.ranks = ranks
        parts = own.new_empty(ranks.count, *own.shape)
        dist.all_gather(list(parts.unbind()), own.contiguous())
        return parts

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        # No exchange: every rank has computed the same loss of the same rows.
        return gradient[ctx.ranks.rank] * ctx.ranks.count, None
