r"""Softmax-weighted means of centres without the B x K matrix of weights.

With q a query, c_k the centres and s a scale, one pass over the centres gives

    lse = log sum_k exp(s q.c_k),        mean = sum_k p_k c_k,  p_k = exp(s q.c_k - lse)

which is attention with the centres as keys and as values. The soft-min's value follows from the
first and its gradient from the second (semcentres/softmin.py). The kernels are those of flash
attention (Dao et al. 2022, arXiv:2205.14135); PyTorch has them under names that are not public,
so that they are looked for, and where they are missing the same is done in blocks by plain
PyTorch (the online softmax of Milakov & Gimelshein 2018, arXiv:1805.02867).

Dimensions: B queries, K centres, k of them a rank's own, D width.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from semcentres.ranks import ALONE, Ranks

BLOCK_BYTES = 1 << 22  # of the weights that `in_blocks` holds at a time


class Attended(NamedTuple):
    """What one pass over the centres gives, both in float32 or float64.

    Args:
        mean: of the centres, weighted by the softmax.
        lse: log of the sum of the exponentials.
    """

    mean: Float[Tensor, "B D"]
    lse: Float[Tensor, " B"]


_sharers: ContextVar[Ranks] = ContextVar("sharers", default=ALONE)


@contextmanager
def centres_shared_by(ranks: Ranks) -> Iterator[None]:
    """Let every rank attend to its share of the centres within a block.

    All ranks must then make the same calls with equal queries and equal centres.
    """
    token = _sharers.set(ranks)
    try:
        yield
    finally:
        _sharers.reset(token)


def attend(
    queries: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], *, scale: float
) -> Attended:
    """Return `Attended` in O(B D) memory, without gradient.

    Args:
        queries: of any floating type; half types are summed in float32.
        centres: at least one; within `centres_shared_by` at least one a rank.
        scale: s; the weights are the softmax of s q.c.
    """
    ranks = _sharers.get()
    if ranks.count == 1:
        return _attend(queries, centres, scale=scale)
    return in_shards(queries, centres[ranks.share(len(centres)).rows], scale=scale)


def in_shards(
    queries: Float[Tensor, "B D"], shard: Float[Tensor, "k D"], *, scale: float
) -> Attended:
    """Return `attend` to the centres of all ranks, of which each gives its own.

    With lse_r and mean_r of rank r's centres alone,

        lse = log sum_r exp(lse_r),        mean = sum_r exp(lse_r - lse) mean_r

    Args:
        queries: the same on all ranks.
        shard: this rank's centres, at least one.
        scale: as for `attend`.
    """
    mean, lse = _attend(queries, shard, scale=scale)
    top = lse.clone()
    dist.all_reduce(top, dist.ReduceOp.MAX)
    weight = (lse - top).exp()[:, None]
    total = torch.cat([weight * mean, weight], dim=1)
    dist.all_reduce(total)
    return Attended(total[:, :-1] / total[:, -1:], top + total[:, -1].log())


def _attend(queries: Tensor, centres: Tensor, *, scale: float) -> Attended:
    kernel = _kernel(queries.device.type)
    half = {queries.dtype, centres.dtype} & {torch.float16, torch.bfloat16}
    # The kernels round to the type of their input, in_blocks adds up half types in float32.
    if kernel is None or half or not len(queries):
        return in_blocks(queries, centres, scale=scale)
    return kernel(queries.contiguous(), centres.to(queries.dtype).contiguous(), scale)


def in_blocks(
    queries: Float[Tensor, "B D"], centres: Float[Tensor, "K D"], *, scale: float
) -> Attended:
    """Return `attend` in blocks of centres by plain PyTorch; arguments as there."""
    dtype = torch.float64 if queries.dtype == torch.float64 else torch.float32
    queries = queries.to(dtype) * scale
    num, width = queries.shape
    largest = queries.new_full((num, 1), -math.inf)
    total, mean = queries.new_zeros(num, 1), queries.new_zeros(num, width)
    size = max(128, BLOCK_BYTES // (queries.element_size() * max(1, num)))
    for block in centres.to(queries.device).split(size):
        block = block.to(dtype)
        logits = queries @ block.T
        top = torch.maximum(largest, logits.amax(dim=1, keepdim=True))
        # What was summed so far is brought to the new maximum, so that nothing overflows.
        shrink = (largest - top).exp_()
        weights = logits.sub_(top).exp_()
        total.mul_(shrink).add_(weights.sum(dim=1, keepdim=True))
        mean = torch.addmm(mean.mul_(shrink), weights, block)
        largest = top
    return Attended(mean / total, (largest + total.log()).squeeze(1))


Kernel = Callable[[Tensor, Tensor, float], Attended]


@lru_cache
def _kernel(device: str) -> Kernel | None:
    """Return PyTorch's fused kernel where it gives what `in_blocks` gives, else None."""
    kernel = {"cpu": _flash_cpu, "cuda": _efficient_cuda}.get(device)
    if kernel is None:
        return None
    generator = torch.Generator().manual_seed(0)
    queries, centres = (torch.randn(n, 8, generator=generator).to(device) for n in (3, 5))
    try:
        found = kernel(queries, centres, 2.0)
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return None
    wanted = in_blocks(queries, centres, scale=2.0)
    same = (torch.allclose(a, b, atol=1e-4) for a, b in zip(found, wanted, strict=True))
    return kernel if all(same) else None


def _flash_cpu(queries: Tensor, centres: Tensor, scale: float) -> Attended:
    keys = centres[None, None]
    mean, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        queries[None, None], keys, keys, 0.0, False, scale=scale
    )
    return Attended(mean[0, 0], lse[0, 0])


def _efficient_cuda(queries: Tensor, centres: Tensor, scale: float) -> Attended:
    # The memory-efficient kernel, since the flash one takes half types alone.
    keys = centres[None, None]
    mean, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        queries[None, None], keys, keys, None, True, scale=scale
    )
    # It pads the log-sum-exp to a multiple of 32 queries.
    return Attended(mean[0, 0], lse[0, 0, : len(queries)])
