"""Weights of which each process holds a share, by PyTorch's FSDP2, and the same whole again.

Gradients and the optimiser's moments are shared as their weights are. Source: Zhao et al. 2023,
PyTorch FSDP (arXiv:2304.11277), as `torch.distributed.fsdp.fully_shard`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer


def share_weights(encoder: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Share an encoder's weights among processes; each part of its backbone by itself.

    During a pass one part is whole at a time.
    """
    data = mesh["data_parallel"]
    encoder.to(memory_format=torch.contiguous_format)  # FSDP takes no other
    for part in encoder.get_submodule("backbone").children():
        # Lists of modules have no pass of their own.
        if not isinstance(part, nn.ModuleList | nn.ModuleDict) and [*part.parameters()]:
            fully_shard(part, mesh=data)
    fully_shard(encoder, mesh=data)
    return encoder


def own(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(state: Any) -> Any:  # noqa: ANN401
    """Return a nested state with whole tensors; all processes must call it."""
    if isinstance(state, DTensor):
        return cast(DTensor, state.detach()).full_tensor()
    if isinstance(state, Mapping):
        return {key: whole(part) for key, part in state.items()}
    return [whole(part) for part in state] if isinstance(state, list) else state


class Whole:
    """A module's weights and buffers as averaging reads them; all processes must read them."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def parameters(self) -> Iterator[Tensor]:
        """Yield the weights."""
        return map(whole, self._module.parameters())

    def buffers(self) -> Iterator[Tensor]:
        """Yield the buffers."""
        return self._module.buffers()


def restore(part: Any, state: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Load a state of whole tensors into what may be shared: a module, an optimiser or another."""
    if isinstance(part, nn.Module):
        now = part.state_dict()
        state = {name: _like(value, now.get(name)) for name, value in state.items()}
    elif isinstance(part, Optimizer):
        weights = [weight for group in part.param_groups for weight in group["params"]]
        moments = {
            number: {name: _like(value, weights[number]) for name, value in of_weight.items()}
            for number, of_weight in state["state"].items()
        }
        state = {**state, "state": moments}
    part.load_state_dict(state)


def _like(value: Any, weight: Any) -> Any:  # noqa: ANN401
    """Return a whole tensor as a weight of its shape is held: shared, and in its memory format."""
    if not isinstance(weight, Tensor) or value.shape != weight.shape:
        return value
    if not isinstance(weight, DTensor):
        # The fused optimiser goes through weight and moments as they lie in memory.
        return torch.empty_like(weight, dtype=value.dtype).copy_(value)
    value = value.to(weight.device).contiguous()
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
