"""Real trainings and embeddings, by one process and by two, beside what the model says of them."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from scale.constants import DIMENSION, ENCODERS, between_two
from scale.model import Workload, step_seconds
from semcentres.data.source import ImageSet
from semcentres.data.stream import Stream
from semcentres.embedding import embed
from semcentres.encoder import Encoder
from semcentres.objectives.centre_softmax import CentreSoftmax
from semcentres.ranks import launched
from semcentres.settings import TrainerSettings
from semcentres.task import Task
from semcentres.trainer import Trainer
from semcentres.views import RandomView
from semcentres.watchdog import together

# Batch and classes; images are in memory and their encoder is small, so that a minute is enough.
SIZES = ((64, 100), (256, 1000), (256, 20_000))
NUM, WARM, TIMED = 2048, 4, 12


def checks(known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return measured and modelled seconds of each size, by one process and by two."""
    rows = []
    for ranks in (1, 2):
        measured = started(ranks)
        for (batch, classes), found in zip(SIZES, measured["steps"], strict=True):
            load = Workload(
                NUM, classes, DIMENSION, "small_conv", batch=batch, ranks=ranks, mapped=False
            )
            wanted = step_seconds(load, known)
            rows.append(row(f"step, B={batch}, K={classes:,}", ranks, found, wanted))
        if ranks == 1:
            for num, found in zip((512, 1024, 2048), measured["embeddings"], strict=True):
                wanted = num * known["small_conv"]["forward"]
                rows.append(row(f"embedding, N={num:,}", 1, found, wanted))
    return rows


def row(what: str, ranks: int, found: float, wanted: float) -> dict[str, Any]:
    """Return one line of the check."""
    return {
        "what": what, "processes": ranks, "measured": found, "modelled": wanted,
        "error": wanted / found - 1,
    }  # fmt: skip


def between() -> dict[str, Any]:
    """Return what two processes say to one another costs."""
    return dict(started(2)["between"])


def started(ranks: int) -> dict[str, Any]:
    """Return what `work` of so many processes finds."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        words = [str(Path(__file__).parents[1] / "plan_scale.py"), "--work", str(out)]
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}"] if ranks > 1 else []
        subprocess.run(
            [sys.executable, *launch, *words], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        return dict(json.loads(out.read_text()))


def work(out: Path) -> None:
    """Do it as one of the processes; the first writes."""
    torch.set_num_threads(1)
    settings = TrainerSettings(steps=WARM + TIMED, device="cpu", unlabelled_batch=0)
    found: dict[str, Any] = {"steps": []}
    with together(settings) as others:
        if others.ranks.count > 1:
            found["between"] = between_two()
        for batch, classes in SIZES:
            found["steps"].append(step_of(batch, classes))
        if others.ranks.count == 1:
            found["embeddings"] = [embedding_of(num) for num in (512, 1024, 2048)]
    if launched()[0] == 0:
        out.write_text(json.dumps(found))


def step_of(batch: int, classes: int) -> float:
    """Return the median seconds of a training step."""
    settings = TrainerSettings(
        steps=WARM + TIMED, device="cpu", labelled_batch=batch, unlabelled_batch=0
    )
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (NUM, 1, 28, 28), dtype=torch.uint8, generator=draw)
    view = RandomView(crop=0.5, rotate=15.0, flip=0.5, brightness=0.3)
    task = Task(
        images=ImageSet(images, torch.arange(NUM) % classes),
        labelled=Stream(torch.arange(NUM), batch, 0, "labelled"),
        unlabelled=Stream(torch.arange(0), 0, 0, "unlabelled"),
        views=[view, view],
        centres=F.normalize(torch.randn(classes, DIMENSION, generator=draw), dim=1),
        seed=0,
    )
    trainer = Trainer(task, encoder(), CentreSoftmax(sharpness=10.0), settings)
    found = []
    for step in range(WARM + TIMED):
        begun = time.perf_counter()
        trainer.step(step)
        found.append(time.perf_counter() - begun)
    return statistics.median(found[WARM:])


def embedding_of(num: int) -> float:
    """Return the median seconds of embedding so many images."""
    images = torch.randint(256, (num, 1, 28, 28), dtype=torch.uint8)
    made, found = encoder().to(memory_format=torch.channels_last), []
    for _ in range(5):
        begun = time.perf_counter()
        embed(made, images, batch_size=256)
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def encoder() -> Encoder:
    """Return the small encoder."""
    make, channels, *_ = ENCODERS["small_conv"]
    torch.manual_seed(0)
    return Encoder(make(channels=channels, dimension=DIMENSION), mean=[0.5], std=[0.25])
