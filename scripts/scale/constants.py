"""What one thread of this machine does in a second: constants that plans are made of.

Each is the median of repeated runs of half a second; measured.py takes them in rounds, between the
real runs. On Linux alone, which tells how much memory a process has held.
"""

import ctypes
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from centre_builders.embedded import write_part
from centre_builders.items import make_items
from scale.model import NEIGHBOURS, PART
from semcentres.backbones import torchvision_model
from semcentres.data.files import ImageFile
from semcentres.data.stored import decode
from semcentres.embedding import embed
from semcentres.encoder import Encoder, small_conv
from semcentres.hardware import make_fabric
from semcentres.index import Index
from semcentres.randomness import generator
from semcentres.settings import TrainerSettings
from semcentres.softmin import softmin
from semcentres.views import RandomView

DIMENSION = 256
# Name to what makes it, channels and side of its images, and a batch that takes about a second.
ENCODERS: dict[str, tuple[Callable[..., nn.Module], int, int, int]] = {
    "resnet50": (lambda **to: torchvision_model(name="resnet50", **to).module, 3, 224, 8),
    "small_conv": (partial(small_conv, width=32), 1, 28, 1024),
}
VIEW = RandomView(crop=0.5, rotate=15.0, flip=0.5, brightness=0.3)


def constants() -> dict[str, dict[str, Any]]:
    """Return all that one process can tell; seconds and bytes of single things."""
    return {
        **{name: of_encoder(name) for name in ENCODERS},
        "machine": {
            "softmin": softmin_seconds(),
            "search": search_seconds(),
            "write": write_seconds(),
            "listed": listed_bytes(),
        },
    }


def make_encoder(name: str, dimension: int = DIMENSION) -> Encoder:
    """Return a new encoder."""
    make, channels, *_ = ENCODERS[name]
    torch.manual_seed(0)
    made = Encoder(make(channels=channels, dimension=dimension), mean=[0.5], std=[0.25])
    return made.to(memory_format=torch.channels_last)


def make_images(name: str, num: int) -> Tensor:
    """Return random images for an encoder."""
    _, channels, side, _ = ENCODERS[name]
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (num, channels, side, side), dtype=torch.uint8, generator=draw)


def of_encoder(name: str) -> dict[str, float]:
    """Return what an encoder and its images cost: seconds and bytes of one image in one view."""
    # What is measured is how training has it: mixed precision where the machine has it.
    fabric = make_fabric(TrainerSettings(device="cpu"))
    _, channels, side, batch = ENCODERS[name]
    encoder, pixels = make_encoder(name), make_images(name, batch)
    seen = VIEW(pixels, generator(0)).contiguous(memory_format=torch.channels_last)
    weights = list(encoder.parameters())
    optimiser = torch.optim.AdamW(weights, fused=True)
    averages = [weight.detach().clone() for weight in weights]
    wrapped, _ = fabric.setup(encoder, optimiser)

    def both(images: Tensor = seen) -> None:
        encoder.train()
        fabric.backward(wrapped(images).square().sum())

    def update() -> None:
        optimiser.step()
        torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 0.01)

    both(seen[:2])  # gradients are there
    column = size_of(make_encoder(name, DIMENSION + 1)) - size_of(encoder)
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    parts = [size for size in map(size_of, encoder.get_submodule("backbone").children()) if size]
    return {
        "weights": size_of(encoder) - DIMENSION * column,
        "weights a dimension": column,
        "tensors": len(weights),
        "parts": len(parts),
        "largest part": max(parts),
        "norms": len(norms),
        "channels": sum(norm.num_features for norm in norms),
        "pixels": pixels[0].nbytes,
        "activations": held(both) / batch,
        "view": seconds(lambda: VIEW(pixels, generator(0))) / batch,
        "both": seconds(both) / batch,
        "forward": seconds(lambda: embed(encoder, pixels)) / batch,
        "decode": decode_seconds(side, channels),
        # The last: weights grow without end when one gradient is followed again and again.
        "update": seconds(update) / size_of(encoder),
    }


def size_of(module: nn.Module) -> int:
    """Return how many weights a module has."""
    return sum(weight.numel() for weight in module.parameters())


def seconds(work: Callable[[], object], *, least: float = 0.5, rounds: int = 5) -> float:
    """Return the median time of some work, each round repeated until it has taken its share."""
    work()
    found = []
    for _ in range(rounds):
        begun, times = time.perf_counter(), 0
        while (spent := time.perf_counter() - begun) < least / rounds or not times:
            work()
            times += 1
        found.append(spent / times)
    return statistics.median(found)


def held(work: Callable[[], object]) -> int:
    """Return how many bytes some work holds at most, beyond what is held before."""
    ctypes.CDLL(None).malloc_trim(0)  # else it may be done in memory that is free but not returned
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark, to what there is now
    before = high_water()
    work()
    return high_water() - before


def high_water() -> int:
    """Return the most bytes that this process has held."""
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def decode_seconds(side: int, channels: int) -> float:
    """Return the time that one JPEG photograph of twice the side takes."""
    noise = torch.rand(3, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(noise[None], size=2 * side, mode="bicubic")[0].clamp(0, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        Image.fromarray((255 * large).byte().permute(1, 2, 0).numpy()).save(path, quality=90)
        return seconds(lambda: decode(path, side, channels))


def listed_bytes(num: int = 300_000) -> float:
    """Return what a process holds of an image file of which it knows path and label.

    Of so many that the doubling of Python's table of strings is shared by them.
    """
    root = Path("/shared/pictures/a class of images")
    tracemalloc.start()
    listed = [
        ImageFile(root / f"image-{number:09}.jpg", f"a class of images/image-{number:09}.jpg", 0)
        for number in range(num)
    ]
    held_now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # And its label, its row and its place in an order, as arrays.
    return held_now / len(listed) + 3 * 8


def unit(num: int) -> Tensor:
    """Return random unit rows."""
    return F.normalize(torch.randn(num, DIMENSION, generator=generator(0)), dim=1)


def softmin_seconds() -> float:
    """Return the time of a multiply-add of the soft-min, forward and backward together."""
    num, batch = 20_000, 256
    centres, rows = unit(num), unit(batch).requires_grad_()
    work = lambda: softmin(rows, centres, temperature=0.1).sum().backward()  # noqa: E731
    return seconds(work) / (num * batch * DIMENSION)


def search_seconds() -> dict[str, float]:
    """Return the time of a row and query of exact search in a part, and of a multiply-add."""

    def spent(width: int) -> float:
        rows, num = F.normalize(unit(PART)[:, :width], dim=1).numpy(), 512
        index = Index.build(rows)
        return seconds(lambda: index.search(rows[:num], NEIGHBOURS)) / (PART * num)

    narrow, wide = spent(DIMENSION // 4), spent(DIMENSION)
    each = (wide - narrow) / (DIMENSION - DIMENSION // 4)
    return {"pair": max(0.0, wide - DIMENSION * each), "multiply": each}


def write_seconds() -> dict[str, float]:
    """Return the time of writing a part of nothing, a row of it, and a byte of a row."""

    def spent(num: int, width: int) -> float:
        rows, none = np.zeros((num, width), np.float32), [None] * num
        with tempfile.TemporaryDirectory(dir=".") as folder:
            items = make_items(np.arange(num), none, none)
            return seconds(lambda: write_part(Path(folder), 0, rows, items, {}))

    part, narrow, wide = spent(1, 1), spent(PART, 1), spent(PART, DIMENSION)
    return {
        "part": part,
        "row": max(0.0, narrow - part) / PART,  # a slow disk's time varies by more
        "byte": (wide - narrow) / (4 * PART * (DIMENSION - 1)),
    }
