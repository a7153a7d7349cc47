"""Images that stay in JPEG files: what the decoder gives alone, and through the data pipeline."""

import multiprocessing
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from simplejpeg import decode_jpeg
from torch import Tensor

from benchmarks.timing import Mark, Report, race
from semcentres.data.fashion_mnist import fashion_mnist
from semcentres.data.stored import StoredImages
from semcentres.randomness import generator
from semcentres.views import RandomView

NUM, STORED, SIDE, BATCH, WORKERS = 20_000, 256, 96, 64, 2
# Grey levels; with them a file is as long as a photograph's of this side, about 27 kB.
GRAIN = 16
PILLOW, ALONE, BATCHES = "Pillow alone", "simplejpeg alone", "semcentres, batches"
VIEWS = f"semcentres, batches and views of {SIDE}x{SIDE}"


def measure() -> Report:
    """Return images a second of the decoder, of batches, and of batches with views."""
    # Both cores decode: a second thread for the views would wait for them at every operation.
    torch.set_num_threads(1)
    rows = torch.arange(NUM).split(BATCH)
    view = RandomView(size=SIDE, crop=0.35, rotate=15.0, flip=0.5, brightness=0.4, contrast=0.4)
    rates = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(WORKERS) as pool,
    ):
        paths = [Path(folder) / f"{row}.jpg" for row in range(NUM)]
        pool.starmap(write, enumerate(paths), chunksize=BATCH)
        for size in (STORED, SIDE):
            stored = StoredImages(paths, size, workers=WORKERS)
            sides = {
                PILLOW: lambda size=size: pool.map(partial(by_pillow, size), paths, BATCH),
                ALONE: lambda size=size: pool.map(partial(by_simplejpeg, size), paths, BATCH),
                BATCHES: lambda stored=stored: [None for _ in stored.batches(rows)],
                VIEWS: lambda stored=stored: [
                    len(view(images, generator(0, step)))
                    for step, images in enumerate(stored.batches(rows))
                ],
            }
            seconds = race(sides, rounds=3)
            rates[f"{size}x{size}"] = {name: NUM / spent for name, spent in seconds.items()}
    whole = rates[f"{STORED}x{STORED}"]
    return Report(
        f"{NUM:,} JPEG files of {STORED}x{STORED}",
        "images/s",
        rates,
        [
            Mark(f"{side} / {alone}, {STORED}x{STORED}", whole[side] / whole[alone], 0.9, False)
            for side in (BATCHES, VIEWS)
            for alone in (PILLOW, ALONE)
        ],
        [
            f"Pictures of Fashion-MNIST, enlarged, with a grain of {GRAIN} grey levels that makes"
            " files as long as photographs.",
            f"The decoders run in {WORKERS} processes and drop their pixels; ours is simplejpeg in"
            f" {WORKERS} threads. For {SIDE}x{SIDE} all decode less detail; ours resizes too.",
            "Views are made by the same cores here; beside a GPU they would be made by it.",
        ],
    )


@cache
def pictures() -> Tensor:
    """Return Fashion-MNIST's training images, read once a process."""
    return fashion_mnist().train.images


def write(row: int, path: Path) -> None:
    """Write an enlarged picture of Fashion-MNIST with some grain."""
    large = F.interpolate(pictures()[row, None].float(), (STORED, STORED), mode="bicubic")[0]
    rng = torch.Generator().manual_seed(row)
    grain = GRAIN * torch.randn(3, STORED, STORED, generator=rng)
    pixels: Tensor = (large + grain).clamp(0, 255).to(torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path, quality=90)


def by_pillow(size: int, path: Path) -> None:
    """Decode a file to no less than a size, and leave it."""
    with Image.open(path, formats=["JPEG"]) as image:
        image.draft("RGB", (size, size))
        np.asarray(image)


def by_simplejpeg(size: int, path: Path) -> None:
    """Decode a file to no less than a size, and leave it."""
    decode_jpeg(path.read_bytes(), min_height=size, min_width=size)
