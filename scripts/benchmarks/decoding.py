"""Images that stay in JPEG files: what the decoder gives alone, and with views of its batches."""

import multiprocessing
import tempfile
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.timing import Mark, Report, race
from semcentres.data.fashion_mnist import fashion_mnist
from semcentres.data.stored import StoredImages, decode
from semcentres.randomness import generator
from semcentres.views import RandomView

NUM, STORED, SIDE, BATCH, WORKERS = 2000, 256, 96, 64, 2
# Grey levels; with them a file is as long as a photograph's of this side, about 27 kB.
GRAIN = 16
ALONE, RESIZED, OURS = "decoder alone", "decoder and resizing", "semcentres, decoder to views"


def measure() -> Report:
    """Return images a second of the decoder, of it with resizing, and of it with views."""
    # Both cores decode: a second thread for the views would wait for them at every operation.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder))
        stored = StoredImages(paths, SIDE, workers=WORKERS)
        rows = torch.arange(NUM).split(BATCH)
        view = RandomView(crop=0.35, rotate=15.0, flip=0.5, brightness=0.4, contrast=0.4)

        def ours() -> None:
            for step, images in enumerate(stored.batches(rows)):
                view(images, generator(0, step))

        with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
            share = partial(pool.map, chunksize=BATCH)
            seconds = race(
                {
                    ALONE: lambda: share(decode_alone, paths),
                    RESIZED: lambda: share(decode_and_resize, paths),
                    OURS: ours,
                }
            )
    rates = {name: NUM / spent for name, spent in seconds.items()}
    return Report(
        f"JPEG files of {STORED}x{STORED}, views of {SIDE}x{SIDE}",
        "images/s",
        {f"{SIDE}x{SIDE}x3": rates},
        [Mark(f"{OURS} / {RESIZED}", rates[OURS] / rates[RESIZED], 0.9, at_most=False)],
        [
            f"{NUM} pictures of Fashion-MNIST, enlarged, with a grain of {GRAIN} grey levels that"
            " makes files as long as photographs.",
            f"The decoder runs in {WORKERS} processes and drops its pixels; ours in {WORKERS}"
            f" threads, and views are made in batches of {BATCH} meanwhile, in one thread more.",
            f'"{ALONE}" stops at what Pillow reduces to by itself, which differs from file to file'
            f' and fits no batch; "{RESIZED}" gives what a training reads.',
        ],
    )


def write(folder: Path) -> list[Path]:
    """Write enlarged pictures of Fashion-MNIST with some grain; return their paths."""
    rng = torch.Generator().manual_seed(0)
    paths = []
    for row, small in enumerate(fashion_mnist().train.images[:NUM]):
        large = F.interpolate(small[None].float(), (STORED, STORED), mode="bicubic")[0]
        grain = GRAIN * torch.randn(3, STORED, STORED, generator=rng)
        pixels: Tensor = (large + grain).clamp(0, 255).to(torch.uint8)
        path = folder / f"{row}.jpg"
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path, quality=90)
        paths.append(path)
    return paths


def decode_alone(path: Path) -> None:
    """Decode a file to no less than SIDE, and leave it."""
    with Image.open(path, formats=["JPEG"]) as image:
        image.draft("RGB", (SIDE, SIDE))
        image.load()


def decode_and_resize(path: Path) -> None:
    """Decode a file as `StoredImages` does, and leave it."""
    decode(path, SIDE)
