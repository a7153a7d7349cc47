"""What one thread of this machine does in a second: the constants that plans are made of.

Each is the median of repeated runs of a second or so. Two processes are started for what they say
to one another.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from semcentres.backbones import torchvision_model
from semcentres.data.stored import decode
from semcentres.encoder import Encoder, small_conv
from semcentres.hardware import make_fabric
from semcentres.index import Index
from semcentres.joint_norm import join_norms
from semcentres.randomness import generator
from semcentres.settings import TrainerSettings
from semcentres.softmin import softmin
from semcentres.views import RandomView

DIMENSION = 256
# Name to what makes it, the side of its images and a batch that takes about a second.
ENCODERS: dict[str, tuple[Callable[..., nn.Module], int, int, int]] = {
    "small_conv": (partial(small_conv, width=32), 1, 28, 256),
    "resnet50": (lambda **to: torchvision_model(name="resnet50", **to).module, 3, 224, 8),
}
MIB = 1 << 20


def constants() -> dict[str, dict[str, float]]:
    """Return all that one process can tell; seconds and bytes of single things."""
    torch.set_num_threads(1)
    return {
        **{name: of_encoder(*given) for name, given in ENCODERS.items()},
        "machine": {
            "softmin": softmin_seconds(),
            "search": search_seconds(),
            "write": write_seconds(),
        },
    }


def of_encoder(
    make: Callable[..., nn.Module], channels: int, side: int, batch: int
) -> dict[str, float]:
    """Return what an encoder and its images cost: seconds and bytes of one image in one view."""
    # What is measured is how training has it: mixed precision where the machine has it.
    fabric = make_fabric(TrainerSettings(device="cpu"))
    encoder = Encoder(make(channels=channels, dimension=DIMENSION), mean=[0.5], std=[0.25])
    encoder = encoder.to(memory_format=torch.channels_last)
    pixels = torch.randint(256, (batch, channels, side, side), dtype=torch.uint8)
    view = RandomView(crop=0.5, rotate=15.0, flip=0.5, brightness=0.3)
    seen = view(pixels, generator(0)).contiguous(memory_format=torch.channels_last)

    def forward() -> None:  # in full precision, as models are asked
        with torch.inference_mode():
            encoder.eval()(seen)

    alone = seconds(forward)
    weights = list(encoder.parameters())
    optimiser = torch.optim.AdamW(weights, fused=True)
    averages = [weight.detach().clone() for weight in weights]
    wrapped, _ = fabric.setup(encoder, optimiser)
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    def both() -> None:
        encoder.train()
        fabric.backward(wrapped(seen).square().sum())

    def update() -> None:
        optimiser.step()
        torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 0.01)

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        both()
    num = sum(weight.numel() for weight in weights)
    return {
        "weights": num,
        "pixels": pixels[0].nbytes,
        "view": seconds(lambda: view(pixels, generator(0))) / batch,
        "forward": alone / batch,
        "both": seconds(both) / batch,
        "activations": kept / batch,
        # The last: weights grow without end when one gradient is followed again and again.
        "update": seconds(update) / num,
        "decode": decode_seconds(side, channels),
    }


def seconds(work: Callable[[], object], *, least: float = 0.5, rounds: int = 5) -> float:
    """Return the median time of some work, each round repeated until it has taken `least`."""
    work()
    found = []
    for _ in range(rounds):
        begun, times = time.perf_counter(), 0
        while (spent := time.perf_counter() - begun) < least / rounds or not times:
            work()
            times += 1
        found.append(spent / times)
    return statistics.median(found)


def decode_seconds(side: int, channels: int) -> float:
    """Return the time that one JPEG photograph of twice the side takes."""
    noise = torch.rand(3, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(noise[None], size=2 * side, mode="bicubic")[0].clamp(0, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        Image.fromarray((255 * large).byte().permute(1, 2, 0).numpy()).save(path, quality=90)
        return seconds(lambda: decode(path, side, channels))


def softmin_seconds() -> float:
    """Return the time of a multiply-add of the soft-min, forward and backward together."""
    num, batch = 20_000, 128
    centres = F.normalize(torch.randn(num, DIMENSION), dim=1)
    rows = F.normalize(torch.randn(batch, DIMENSION), dim=1).requires_grad_()
    work = lambda: softmin(rows, centres, temperature=0.1).sum().backward()  # noqa: E731
    return seconds(work) / (num * batch * DIMENSION)


def search_seconds() -> float:
    """Return the time of a multiply-add of exact search."""
    rows = F.normalize(torch.randn(20_000, DIMENSION), dim=1).numpy()
    index = Index.build(rows)
    return seconds(lambda: index.search(rows[:512], 20)) / (len(rows) * 512 * DIMENSION)


def write_seconds() -> float:
    """Return the time of a byte that is written and forced to disk."""
    content = os.urandom(32 * MIB)
    with tempfile.TemporaryDirectory() as folder:

        def write() -> None:
            with (Path(folder) / "part").open("wb") as file:
                file.write(content)
                os.fsync(file.fileno())

        return seconds(write) / len(content)


def between_two() -> dict[str, Any]:
    """Return what two processes say to one another costs; both of them call it."""
    gradient = torch.zeros(4 * MIB)
    parts = [torch.zeros(MIB) for _ in range(2)]
    small = torch.zeros(1)
    reduce = repeated(lambda: dist.all_reduce(gradient))
    gather = repeated(lambda: dist.all_gather(parts, parts[0].clone()))
    return {
        "call": repeated(lambda: dist.all_reduce(small)),
        "reduce": reduce / gradient.nbytes,
        "gather": gather / parts[0].nbytes,
        "joint": {name: joint_seconds(*given) for name, given in ENCODERS.items()},
    }


def joint_seconds(
    make: Callable[..., nn.Module], channels: int, side: int, batch: int
) -> dict[str, float]:
    """Return `both` where normalisation is over all processes: of a pass, and of an image more."""
    fabric = make_fabric(TrainerSettings(device="cpu"))
    encoder = Encoder(make(channels=channels, dimension=DIMENSION), mean=[0.5], std=[0.25])
    encoder = encoder.to(memory_format=torch.channels_last)
    join_norms(encoder, fabric.device)

    def both(num: int) -> float:
        seen = torch.rand(num, channels, side, side).contiguous(memory_format=torch.channels_last)

        def work() -> None:
            with fabric.autocast():
                loss = encoder(seen).square().sum()
            loss.backward()

        work()
        return repeated(work, rounds=6)

    few, many = both(batch // 4), both(batch)
    image = (many - few) / (batch - batch // 4)
    return {"image": image, "pass": max(0.0, few - image * (batch // 4))}


def repeated(work: Callable[[], object], rounds: int = 20) -> float:
    """Return the median time of what all processes must do equally often."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)
