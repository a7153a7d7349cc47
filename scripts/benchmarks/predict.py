"""Predictions for 10,000 images beside the encoder alone."""

import torch

from benchmarks.timing import Mark, Report, race
from centre_builders import OneHot, build_bank
from semcentres.data.fashion_mnist import fashion_mnist
from semcentres.encoder import Encoder, small_conv
from semcentres.model import BLOCK, Model
from semcentres.views import plain

DIMENSION = 64
ALONE, OURS = "encoder alone", "Model.predict"


def measure() -> Report:
    """Return images a second of the encoder and of predictions, and the mark."""
    source = fashion_mnist()
    images, (mean, std) = source.test.images, source.statistics
    torch.manual_seed(0)
    encoder = Encoder(small_conv(channels=1, dimension=DIMENSION), mean=mean, std=std).eval()
    bank = build_bank(OneHot(), source.class_names, dimension=DIMENSION)
    calibration = {
        "temperature": 0.3,
        "threshold": 0.5,
        "rejected": 0.05,
        "calibrated_on": "nothing",
        "num_images": 0,
    }
    about = {"calibration": calibration, "channels": 1, "size": images.shape[-1]}
    model = Model(encoder, bank, about, "")
    batches = [
        plain(batch).contiguous(memory_format=torch.channels_last) for batch in images.split(BLOCK)
    ]

    @torch.inference_mode()
    def alone() -> None:
        for batch in batches:
            encoder(batch)

    seconds = race({ALONE: alone, OURS: lambda: model.predict(images)}, rounds=7)
    rates = {name: len(images) / spent for name, spent in seconds.items()}
    return Report(
        f"{len(images):,} images of 28x28x1, about 100,000 weights, {len(bank.names)} classes",
        "images/s",
        {"28x28x1": rates},
        [Mark(f"{OURS} / {ALONE}", rates[OURS] / rates[ALONE], 0.8, at_most=False)],
        [
            f"The encoder is given floats that are ready, in batches of {BLOCK}, and drops what it"
            " gives; a prediction begins with bytes and ends with class, confidence, runner-up,"
            " energy and verdict.",
        ],
    )
