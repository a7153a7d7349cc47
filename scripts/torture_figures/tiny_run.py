"""A real training run that is small enough to be killed hundreds of times.

All that a run has is in it: two views, a teacher, mined negatives, a weighted sum with a schedule,
batches across passes, records, checkpoints.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from semcentres.checkpoint import RunFolder
from semcentres.data.source import ImageSet
from semcentres.data.stream import Stream
from semcentres.encoder import Encoder, small_conv
from semcentres.objectives.cluster_energy import ClusterEnergy
from semcentres.objectives.mining import MinedNegatives
from semcentres.objectives.weighted_sum import WeightedSum
from semcentres.settings import TrainerSettings
from semcentres.task import Task
from semcentres.trainer import Trainer
from semcentres.views import RandomView

ABOUT = {"bank": "b", "data": "d"}
NUM, CLASSES, WIDTH = 60, 5, 8


def make_trainer(
    *, steps: int, every: int, precision: str = "32-true", mapped: Path | None = None
) -> Trainer:
    """Return a trainer at step 0.

    Args:
        steps: of the whole run.
        every: steps from one checkpoint to the next.
        precision: of Fabric.
        mapped: a file to map the images from, as those that memory does not hold; None holds them.
    """
    torch.set_num_threads(1)
    settings = TrainerSettings(
        steps=steps, labelled_batch=6, unlabelled_batch=10, warmup_steps=3, log_every=1,
        checkpoint_every=every, device="cpu", teacher=True, precision=precision,
        assignment_every=4,
    )  # fmt: skip
    parts: dict[str, dict[str, Any]] = {
        "energy": {"objective": ClusterEnergy(unlabelled_ramp=0.5, balance_weight=0.1)},
        "mined": {
            "objective": MinedNegatives(num_negatives=3, refresh_every=5, confidence=0.0),
            "start": 0.1,
            "ramp": 0.4,
        },
    }
    images = torch.randint(
        256, (NUM, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    if mapped is not None:
        if not mapped.exists():
            images.numpy().tofile(mapped)
        images = torch.from_numpy(np.memmap(mapped, np.uint8, "c", shape=tuple(images.shape)))
    labels = torch.arange(NUM) % CLASSES
    task = Task(
        images=ImageSet(images, labels, on_disk=mapped is not None),
        labelled=Stream(torch.arange(20), 6, 0, "labelled"),
        unlabelled=Stream(torch.arange(20, NUM), 10, 0, "unlabelled"),
        views=[RandomView(translate=0.1), RandomView(crop=0.6, rotate=20.0, noise=0.05)],
        centres=torch.eye(CLASSES, WIDTH),
        seed=0,
    )
    torch.manual_seed(0)
    backbone = nn.Sequential(small_conv(channels=1, dimension=WIDTH, width=4), nn.Dropout(0.2))
    encoder = Encoder(backbone, mean=[0.5], std=[0.25])
    return Trainer(task, encoder, WeightedSum(parts=parts), settings)


def train(trainer: Trainer, folder: Path, *, max_seconds: float | None = None) -> None:
    """Train, or go on, as the verb does: with the folder's lock, from its newest checkpoint."""
    run = RunFolder(folder)
    with run.lock():
        trainer.fit(run, about=ABOUT, max_seconds=max_seconds)


def temporaries(folder: Path) -> list[str]:
    """Return what is half written below a folder."""
    return [str(path) for path in folder.rglob(".*-*") if path.name.startswith((".tmp-", ".old-"))]
