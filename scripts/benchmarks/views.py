"""Random views: a crop, a turn, a mirror and two changes of colour, in images a second.

Everything runs in one thread, as a worker of a data loader does; so these are images a second
and core.
"""

from collections.abc import Callable
from itertools import count

import kornia.augmentation as K
import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.timing import Mark, Report, race
from semcentres.randomness import generator
from semcentres.views import RandomView

CROP, STRETCH, DEGREES, COLOUR = 0.35, 4 / 3, 15.0, 0.4
RANGE = (1 - COLOUR, 1 + COLOUR)
# Channels, side, images a batch.
SIZES = ((1, 28, 256), (3, 32, 256), (3, 96, 64))
OURS, EACH, BATCH, KORNIA = (
    "semcentres",
    "torchvision, image by image",
    "torchvision, batch",
    "kornia",
)


def measure() -> Report:
    """Return images a second of each side at each size, and the marks."""
    torch.set_num_threads(1)
    report = Report("Random views of uint8 images in memory, one thread", "images/s")
    for channels, side, num in SIZES:
        size = f"{side}x{side}x{channels}"
        rng = torch.Generator().manual_seed(0)
        shape = (num, channels, side, side)
        images = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)
        seconds = race(sides(images), rounds=9, warm=2)
        rates = {name: num / spent for name, spent in seconds.items()}
        report.values[size] = rates
        wanted = 10 if side <= 32 else 2
        ratios = [rates[OURS] / rates[EACH], rates[OURS] / rates[KORNIA]]
        report.marks += [
            Mark(f"{size}: {OURS} / {EACH}", ratios[0], wanted, at_most=False),
            Mark(f"{size}: {OURS} / {KORNIA}", ratios[1], 1, at_most=False),
        ]
    report.notes += [
        f"Parameters are the same everywhere: a crop of {CROP:g} to 1 of the area, stretched by up"
        f" to {STRETCH:.3g}; a turn of up to {DEGREES:g} degrees; bilinear; mirrored with"
        f" probability 0.5; brightness and contrast changed by up to {COLOUR:g}; uint8 in, float32"
        " out.",
        f'"{BATCH}" gives all images of a batch the same draw, so it is no rival: it is what'
        " torchvision's operators cost without their loop.",
        "Ours resamples once; the others do for the crop and for the turn, torchvision in uint8.",
    ]
    return report


def sides(images: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return the same augmentation of a batch by each library."""
    view = RandomView(
        crop=CROP, stretch=STRETCH, rotate=DEGREES, flip=0.5, brightness=COLOUR, contrast=COLOUR
    )
    steps = count()
    torchvision, kornia = _torchvision(images.shape[-1]), _kornia(images.shape[-1])
    return {
        OURS: lambda: view(images, generator(0, next(steps))),
        EACH: lambda: torch.stack([torchvision(image) for image in images]),
        BATCH: lambda: torchvision(images),
        KORNIA: lambda: kornia(images.float() / 255),
    }


def _torchvision(side: int) -> Callable[[Tensor], Tensor]:
    chain: Callable[[Tensor], Tensor] = v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(CROP, 1.0), ratio=(1 / STRETCH, STRETCH)),
            v2.RandomRotation(DEGREES, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=COLOUR, contrast=COLOUR),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return chain


def _kornia(side: int) -> Callable[[Tensor], Tensor]:
    """Return kornia's chain; "resample" is its faster way to crop here."""
    crop = K.RandomResizedCrop(
        (side, side), scale=(CROP, 1.0), ratio=(1 / STRETCH, STRETCH), cropping_mode="resample"
    )
    chain: Callable[[Tensor], Tensor] = K.AugmentationSequential(
        crop,
        K.RandomRotation(DEGREES, p=1.0),
        K.RandomHorizontalFlip(p=0.5),
        K.RandomBrightness(RANGE),
        K.RandomContrast(RANGE),
        data_keys=["input"],
        same_on_batch=False,
    )
    return chain
