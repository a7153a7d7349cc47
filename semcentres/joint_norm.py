"""Batch normalisation over the rows of all processes, so that their number changes nothing.

On a GPU it is PyTorch's SyncBatchNorm, which refuses tensors on a CPU.

Dimensions: b rows of this process, C channels.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from centre_builders.errors import UsageError

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def join_norms(module: nn.Module, device: torch.device) -> None:
    """Let all batch normalisation within a module take its statistics over all ranks.

    Weights and their names stay as they are.

    Raises:
        UsageError: a layer is a variant whose statistics cannot be shared.
    """
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm) and type(child) in KINDS:
            setattr(module, name, _joint(child, device))
        elif isinstance(child, _BatchNorm) and not isinstance(child, nn.SyncBatchNorm):
            raise UsageError(
                f"the encoder's {name} is a {type(child).__name__}, which normalises each process's"
                " images by themselves; take another encoder, or train with one process"
            )
        else:
            join_norms(child, device)


class JointBatchNorm(_BatchNorm):
    """As nn.BatchNorm, with mean and variance over the rows of all ranks while it trains."""

    @classmethod
    def of(cls, norm: _BatchNorm) -> "JointBatchNorm":
        """Return a layer with the very weights and buffers of another."""
        kept = norm.track_running_stats
        joint = cls(norm.num_features, norm.eps, norm.momentum, False, kept)
        joint.affine, joint.training = norm.affine, norm.training
        for name, weight in norm.named_parameters(recurse=False):
            joint.register_parameter(name, weight)
        for name, buffer in norm.named_buffers(recurse=False):
            setattr(joint, name, buffer)
        return joint

    def forward(self, inputs: Float[Tensor, "b C *rest"]) -> Float[Tensor, "b C *rest"]:
        """Return the normalised inputs, in their type."""
        if not self.training:
            return super().forward(inputs)
        across = [0, *range(2, inputs.ndim)]
        shape = (-1, *[1] * (inputs.ndim - 2))
        wide = inputs.float()
        own = wide.new_full((1,), wide.numel() / self.num_features)
        total, num = _Sum.apply(torch.cat([wide.sum(across), own])).split([self.num_features, 1])
        mean = total / num
        centred = wide - mean.view(shape)
        # Of what is centred: the mean of squares less the squared mean loses digits.
        variance = _Sum.apply(centred.square().sum(across)) / num
        self._remember(mean.detach(), (variance * num / (num - 1)).detach())
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        normed: Tensor = scaled.to(inputs.dtype)
        return normed

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        seen = self.momentum
        rate = 1 / float(self.num_batches_tracked) if seen is None else seen
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        """Take any number of axes."""


class _Sum(torch.autograd.Function):
    """The sum over ranks, whose gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:  # noqa: ANN401
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _joint(norm: _BatchNorm, device: torch.device) -> nn.Module:
    if device.type == "cpu":
        return JointBatchNorm.of(norm)
    joint: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    return joint
