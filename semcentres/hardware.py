"""Device, precision and processes: the one place that decides where the work is done."""

import logging
import os
from datetime import timedelta
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

from centre_builders.errors import UsageError
from semcentres.ranks import launched
from semcentres.settings import TrainerSettings
from semcentres.shared_weights import share_weights

# Its own news (precision, processes) would stand between the lines of a run.
for name in ("rank_zero", "distributed"):
    logging.getLogger(f"lightning_fabric.utilities.{name}").setLevel(logging.WARNING)


def make_fabric(settings: TrainerSettings) -> Fabric:
    """Return the Fabric that the settings ask for, connected to the other processes of torchrun.

    Precision "auto" is bf16 where it is native.

    Raises:
        UsageError: torchrun has started more processes than there are GPUs.
    """
    precision = settings.precision
    if precision == "auto":
        precision = "bf16-mixed" if has_bf16(settings.device) else "32-true"
    _, count = launched()
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if count > 1 else 1
    if settings.device in ("auto", "cuda", "gpu"):
        _check_gpus(here, ", or set trainer.device=cpu")
    wait = timedelta(seconds=settings.rank_timeout)
    strategy: Any = DDPStrategy(timeout=wait) if count > 1 else "auto"
    if settings.shard and count > 1:
        strategy = ModelParallelStrategy(
            share_weights, data_parallel_size=count, tensor_parallel_size=1, timeout=wait
        )
    fabric = Fabric(
        accelerator=settings.device,
        devices=here,
        num_nodes=count // here,
        strategy=strategy,
        precision=cast(Any, precision),
    )
    fabric.launch()
    return fabric


def own_device(wanted: str = "auto") -> torch.device:
    """Return this process's GPU, of several under torchrun each its own, or the CPU without any.

    The CPU too where it is `wanted`, as `trainer.device` says it. Ray shows an actor the GPU alone
    that it reserves.

    Raises:
        UsageError: torchrun has started more processes than there are GPUs.
    """
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    _, count = launched()
    if count == 1:
        return torch.device("cuda", 0)
    _check_gpus(int(os.environ["LOCAL_WORLD_SIZE"]))
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def _check_gpus(here: int, remedy: str = "") -> None:
    gpus = torch.cuda.device_count()
    if gpus and here > gpus:
        raise UsageError(
            f"torchrun started {here} processes for {gpus} GPUs; start it with"
            f" --nproc-per-node={gpus}{remedy}"
        )


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given, so that a clock sees it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def has_bf16(device: str) -> bool:
    """Return whether the hardware computes in bfloat16 by itself."""
    if device in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
