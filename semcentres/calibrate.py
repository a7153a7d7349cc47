"""Fit temperature and open-set threshold to images that a run knows the labels of.

Held-out images are right for it. Where a run kept none, its labelled images are all that it may
know labels of, and these were trained on: seen plainly they are nearly all right, and the
temperature would be next to 0. They are seen here through the strongest training view in
their place, which makes them about as hard as new images. That is better and not honest: with
few labels the confidences are still too high, so the result says what it rests on.
"""

import torch
from torch import Tensor, nn

from centre_builders.bank import CentreBank
from semcentres.data.source import Source
from semcentres.data.split import Split
from semcentres.embedding import embed
from semcentres.evaluation.calibration import fit_temperature, fit_threshold
from semcentres.prediction import Calibration
from semcentres.randomness import generator
from semcentres.recipe import labelled_images
from semcentres.softmin import softmin
from semcentres.views import View

REJECTED = 0.05  # share of images of known classes that may be taken for none of them
DRAWS = 5  # views of each labelled image, where no others are held out
MOST = 10_000  # images


def calibrate(
    encoder: nn.Module, bank: CentreBank, source: Source, split: Split, view: View, seed: int
) -> Calibration:
    """Return the calibration of an encoder with its centres.

    Args:
        encoder: images to unit embeddings.
        bank: has a centre for each class of the source.
        source: the data.
        split: with validation images, if possible.
        view: the strongest of the training; taken where nothing is held out.
        seed: of the view's draws.
    """
    rows = split.validation[source.train.labels[split.validation] >= 0][:MOST]
    if len(rows):
        labels = source.train.labels[rows]
        embeddings = torch.from_numpy(embed(encoder, source.train.images, rows=rows))
        told = "validation images, never trained on"
    else:
        known = labelled_images(source, split, MOST // DRAWS)
        embeddings = torch.cat([_seen(encoder, known.images, view, seed, n) for n in range(DRAWS)])
        labels = known.labels.repeat(DRAWS)
        told = "random views of labelled training images, which were trained on"
    centres = torch.from_numpy(bank.vectors)
    temperature = fit_temperature(embeddings, centres, labels)
    energies = softmin(embeddings, centres, temperature=temperature).numpy()
    return Calibration(
        temperature=temperature,
        threshold=fit_threshold(energies, rejected=REJECTED),
        rejected=REJECTED,
        calibrated_on=f"{told}, of {len(bank.names)} classes",
        num_images=len(labels),
    )


def _seen(encoder: nn.Module, images: Tensor, view: View, seed: int, draw: int) -> Tensor:
    def drawn(batch: Tensor, number: int) -> Tensor:
        return view(batch, generator(seed, "calibrate", draw, number, device=batch.device))

    return torch.from_numpy(embed(encoder, images, view=drawn))
