"""Whole training steps on Fashion-MNIST, in source images a second, beside two peers' own loops.

Every step sees 256 images in two views each, through the same convolutional encoder: load, views,
forward, loss, backward, optimiser; ours has the averaged encoder on top.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sized
from typing import cast

import torch
import yaml
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

from benchmarks.timing import Mark, Report
from semcentres.components import build
from semcentres.compose import config_folder
from semcentres.data.fashion_mnist import fashion_mnist
from semcentres.data.source import Source
from semcentres.data.split import split_labels
from semcentres.data.stream import Stream
from semcentres.encoder import Encoder, small_conv
from semcentres.objectives.cluster_energy import ClusterEnergy
from semcentres.settings import TrainerSettings
from semcentres.task import Task
from semcentres.trainer import Trainer

LABELLED, UNLABELLED, DIMENSION, WORKERS = 64, 192, 64, 2
BATCH = LABELLED + UNLABELLED
# Workers are some batches ahead, so that the last steps of a round have idle ones: not timed.
ROUNDS, WARM, TIMED, REST = 3, 4, 24, 6
STEPS = WARM + TIMED + REST
OURS, LIGHTLY, PML = "semcentres", "lightly SimCLR", "pytorch-metric-learning SupCon"
# STEPS steps, one an item.
Loop = Callable[[], Iterator[object]]


def measure() -> Report:
    """Return images a second of each loop, and the marks."""
    source = fashion_mnist()
    loops: dict[str, Loop] = {
        f"{OURS}, precision auto": ours(source, "auto"),
        f"{OURS}, fp32": ours(source, "32-true"),
        f"{LIGHTLY}, fp32": lightly(source, bf16=False),
        f"{LIGHTLY}, bf16, channels last": lightly(source, bf16=True),
        f"{PML}, fp32": metric_learning(source, bf16=False),
        f"{PML}, bf16, channels last": metric_learning(source, bf16=True),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            spent[name].append(seconds(loop()))
    rates, per_processor = (
        {name: BATCH / statistics.median(times[kind] for times in spent[name]) for name in loops}
        for kind in (0, 1)
    )
    first = rates[f"{OURS}, precision auto"]
    marks = [
        Mark(f"{OURS} / {peer}, fp32", first / rates[f"{peer}, fp32"], limit, at_most=False)
        for peer, limit in ((LIGHTLY, 4), (PML, 3))
    ]
    return Report(
        "Whole training steps on Fashion-MNIST, 28x28x1, about 100,000 weights",
        "images/s",
        {"by the clock": rates, "a second of processor": per_processor},
        marks,
        [
            f"{ROUNDS} interleaved rounds of {TIMED} steps after {WARM} and before {REST}, medians."
            f" A batch has {BATCH} images in two views; ours {LABELLED} labelled and {UNLABELLED}"
            " unlabelled ones, all with gradient.",
            f"The peers read through a DataLoader of {WORKERS} workers, as their documentation"
            " does; lightly with its own transform of PIL images, which blurs and recolours too."
            " A round's workers start before its first step and end with its last.",
            "A second of processor counts all threads and workers, all steps, and the workers'"
            " start; unlike the clock it can be compared on a busy machine.",
        ],
    )


def ours(source: Source, precision: str) -> Loop:
    """Return `Trainer.step` with the cluster energy and the views of conf/views/fashion.yaml."""
    split = split_labels(source, labels_per_class=10)
    views = yaml.safe_load((config_folder() / "views" / "fashion.yaml").read_text())
    task = Task(
        images=source.train,
        labelled=Stream(split.labelled, LABELLED, 0, "labelled"),
        unlabelled=Stream(split.unlabelled, UNLABELLED, 0, "unlabelled"),
        views=[build(view) for view in views.values()],
        centres=torch.eye(10, DIMENSION),
        seed=0,
    )
    mean, std = source.statistics
    encoder = Encoder(small_conv(channels=1, dimension=DIMENSION), mean=mean, std=std)
    settings = TrainerSettings(
        labelled_batch=LABELLED, unlabelled_batch=UNLABELLED, device="cpu", precision=precision
    )
    trainer = Trainer(task, encoder, ClusterEnergy(), settings)
    return lambda: (trainer.step(step) for step in range(STEPS))


def lightly(source: Source, *, bf16: bool) -> Loop:
    """Return SimCLR as lightly's documentation writes it, its transform adapted to grey."""
    mean, std = source.statistics
    transform = SimCLRTransform(input_size=28, normalize={"mean": mean, "std": std})
    features = small_conv(channels=1, dimension=DIMENSION)[:-1]
    model = nn.Sequential(features, SimCLRProjectionHead(128, 128, 128))
    loss = NTXentLoss()

    def energy(embeddings: Tensor, _: Tensor) -> Tensor:
        return cast(Tensor, loss(*embeddings.chunk(2)))

    optimiser = torch.optim.SGD(model.parameters(), lr=0.06)
    return peer(Views(source, lambda image: transform(Image.fromarray(image.numpy()[0]))), model,
                energy, optimiser, bf16=bf16)  # fmt: skip


def metric_learning(source: Source, *, bf16: bool) -> Loop:
    """Return a loop with pytorch-metric-learning's loss and torchvision's transforms."""
    mean, std = source.statistics
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(28, scale=(0.35, 1.0)),
            v2.RandomRotation(20, interpolation=v2.InterpolationMode.BILINEAR),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.6, contrast=0.6),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    model = small_conv(channels=1, dimension=DIMENSION)
    loss = SupConLoss()

    def energy(embeddings: Tensor, labels: Tensor) -> Tensor:
        return cast(Tensor, loss(embeddings, labels.repeat(2)))

    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    data = Views(source, lambda image: [transform(image), transform(image)])
    return peer(data, model, energy, optimiser, bf16=bf16)


class Views(Dataset[tuple[list[Tensor], int]]):
    """A data set of two views of each image, made one by one."""

    def __init__(self, source: Source, transform: Callable[[Tensor], list[Tensor]]) -> None:
        self.images, self.labels = source.train.images, source.train.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[list[Tensor], int]:
        """Return the views of an image, and its label."""
        return self.transform(self.images[row]), self.labels[row]


def peer(
    data: Views,
    model: nn.Module,
    energy: Callable[[Tensor, Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    bf16: bool,
) -> Loop:
    """Return a plain training loop over a DataLoader."""
    layout = torch.channels_last if bf16 else torch.contiguous_format
    model.to(memory_format=layout)

    def steps() -> Iterator[object]:
        # As many images as the steps need: at its end a DataLoader ends its workers by itself.
        rows = torch.randperm(len(cast(Sized, data)))[: STEPS * BATCH].tolist()
        for views, labels in DataLoader(Subset(data, rows), BATCH, num_workers=WORKERS):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                embeddings = model(torch.cat(views).contiguous(memory_format=layout))
            loss = energy(embeddings.float(), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield loss

    return steps


def seconds(steps: Iterator[object]) -> tuple[float, float]:
    """Return the seconds of a timed step, and the processor's of any step."""
    before = sum(os.times()[:4])
    stamps = [time.perf_counter() for _ in steps]
    spent = sum(os.times()[:4]) - before
    return (stamps[WARM + TIMED - 1] - stamps[WARM - 1]) / TIMED, spent / STEPS
