"""Device, precision and processes: the one place that decides where the work is done."""

import logging
from typing import Any, cast

import torch
from lightning_fabric import Fabric

from semcentres.settings import TrainerSettings

# Its own news (the precision) would stand between the lines of a run.
logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)


def make_fabric(settings: TrainerSettings) -> Fabric:
    """Return the Fabric that the settings ask for; precision "auto" is bf16 where it is native."""
    precision = settings.precision
    if precision == "auto":
        precision = "bf16-mixed" if has_bf16(settings.device) else "32-true"
    fabric = Fabric(
        accelerator=settings.device,
        devices=settings.devices,
        strategy=settings.strategy,
        precision=cast(Any, precision),
    )
    fabric.launch()
    return fabric


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given, so that a clock sees it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def has_bf16(device: str) -> bool:
    """Return whether the hardware computes in bfloat16 by itself."""
    if device in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
