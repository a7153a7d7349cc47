"""What processes say to one another costs; all of them call each of these functions together."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from scale.constants import ENCODERS, held, make_encoder
from semcentres.hardware import make_fabric
from semcentres.joint_norm import join_norms
from semcentres.settings import TrainerSettings

NUMBERS = 3 << 20  # of a large message; 2, 3 and 4 processes have equal parts of it


def collectives() -> dict[str, Any]:
    """Return seconds of a call in which next to nothing is said; of large ones also bytes sent."""
    ranks = dist.get_world_size()
    whole, part = torch.zeros(NUMBERS), torch.zeros(NUMBERS // ranks)
    parts, small = list(torch.zeros(NUMBERS).split(len(part))), torch.zeros(1)
    ways: dict[str, Callable[[], object]] = {
        "sum": lambda: dist.all_reduce(whole),
        "gather": lambda: dist.all_gather(parts, part),
        "scatter": lambda: dist.reduce_scatter(part, parts),
    }
    found: dict[str, Any] = {"call": repeated(lambda: dist.all_reduce(small), rounds=200)}
    for name, work in ways.items():
        before = sent()
        work()
        found[name] = {"sent": sent() - before, "seconds": repeated(work)}
    return found


def sent() -> int:
    """Return how many bytes this process has written, to others where it writes no files."""
    return int(Path("/proc/self/io").read_text().split("wchar:")[1].split()[0])


def joint(name: str) -> dict[str, float]:
    """Return an image's `both` and `activations` where normalisation is over all processes.

    In the first are the calls, of which `joint_norm` makes four a layer.
    """
    fabric = make_fabric(TrainerSettings(device="cpu"))
    _, channels, side, batch = ENCODERS[name]
    encoder = make_encoder(name)
    join_norms(encoder, fabric.device)
    seen = torch.rand(batch, channels, side, side).contiguous(memory_format=torch.channels_last)

    def work(num: int = batch) -> None:
        with fabric.autocast():
            loss = encoder(seen[:num]).square().sum()
        loss.backward()

    work(2)  # gradients are there
    return {"activations": held(work) / batch, "both": repeated(work, rounds=3) / batch}


def repeated(work: Callable[[], object], rounds: int = 20) -> float:
    """Return the median time of what all processes must do equally often."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)
