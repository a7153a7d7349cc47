"""Real runs, small enough for minutes, of which the model says what they take."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from centre_builders.embedded import Parts, complete, open_parts, write_part
from centre_builders.items import items_bytes, make_items
from scale.between import sent
from scale.constants import VIEW, high_water, make_encoder, make_images
from scale.model import NEIGHBOURS, PART, Workload
from semcentres.data.source import ImageSet
from semcentres.data.stream import Stream
from semcentres.embedding import embed
from semcentres.index import Index
from semcentres.objectives.centre_softmax import CentreSoftmax
from semcentres.ranks import Ranks
from semcentres.settings import TrainerSettings
from semcentres.shards import Shard, Shards
from semcentres.task import Task
from semcentres.trainer import Trainer

# Each is run by one process and by two, and those of `SHARED` by two that share the weights. All
# that the model knows is varied: images, classes, dimension, batch and encoder.
TRAININGS = (
    Workload(2_000, 100, 64, "small_conv", batch=64, mapped=False),
    Workload(100_000, 1_000, 128, "small_conv", batch=512, mapped=False),
    Workload(200_000, 50_000, 256, "small_conv", batch=1024, mapped=False),
    Workload(200, 21_841, 256, "resnet50", batch=16, mapped=False),
)
SHARED = (TRAININGS[1], TRAININGS[3])
EMPTY = Workload(16, 4, 8, "small_conv", batch=8, mapped=False)
COLLECTIONS = (
    Workload(2 * PART, 1, 64, "small_conv", mapped=False, queries=256),
    Workload(4 * PART, 1, 128, "small_conv", mapped=False, queries=512),
    Workload(6 * PART, 1, 256, "small_conv", mapped=False, queries=1024),
)
WARM, TIMED = 2, 5


def training(load: Workload) -> dict[str, float]:
    """Return a step's median seconds and bytes sent, and the most memory; of one process."""
    settings = TrainerSettings(
        steps=WARM + TIMED, device="cpu", labelled_batch=load.batch, unlabelled_batch=0,
        shard=load.shard,
    )  # fmt: skip
    images = make_images(load.encoder, load.images)
    draw = torch.Generator().manual_seed(1)
    task = Task(
        images=ImageSet(images, torch.arange(load.images) % load.classes),
        labelled=Stream(torch.arange(load.images), load.batch, 0, "labelled"),
        unlabelled=Stream(torch.arange(0), 0, 0, "unlabelled"),
        views=[VIEW] * load.views,
        centres=F.normalize(torch.randn(load.classes, load.dimension, generator=draw), dim=1),
        seed=0,
    )
    encoder = make_encoder(load.encoder, load.dimension)
    trainer = Trainer(task, encoder, CentreSoftmax(sharpness=10.0), settings)
    times, before = [], 0
    for step in range(WARM + TIMED):
        if step == WARM:
            before = sent()
        begun = time.perf_counter()
        trainer.step(step)
        trainer.ranks.signal(0)
        times.append(time.perf_counter() - begun)
    bytes_sent = (sent() - before) / TIMED
    return {
        "step": statistics.median(times[WARM:]),
        "sent": bytes_sent,
        "memory": high_water(),
    }


def collection(load: Workload, ranks: Ranks) -> dict[str, float]:
    """Return seconds of embedding, writing and searching; what all send in a search."""
    encoder = make_encoder(load.encoder, load.dimension)
    own = range(ranks.rank, -(-load.images // PART), ranks.count)
    images = make_images(load.encoder, PART)
    items = make_items(np.arange(PART), [None] * PART, [None] * PART)
    items_bytes(items)  # what is loaded at its first use is not of the time
    with _folder(ranks) as folder:
        ranks.wait()
        begun = time.perf_counter()
        rows = {number: embed(encoder, images) for number in own}
        ranks.wait()
        embedding, writing = time.perf_counter() - begun, []
        for _ in range(3):  # a disk is not always as fast
            begun = time.perf_counter()
            for number in own:
                write_part(folder, number, rows[number], items, {"rows": PART, "model": "m"})
            ranks.wait()
            writing.append(time.perf_counter() - begun)
        if ranks.first:
            complete(folder, {"model": "m"}, load.images // PART)
        ranks.wait()
        found = _searched(load, open_parts(folder), own, ranks)
    return {"embedding": embedding, "writing": statistics.median(writing), **found}


def _searched(load: Workload, parts: Parts, own: range, ranks: Ranks) -> dict[str, float]:
    """Return what searching takes; of processes but the first, what they send."""
    shards = [Shard(number * PART, Index.over(parts.vectors(number))) for number in own]
    queries = F.normalize(torch.randn(load.queries, load.dimension), dim=1).numpy()
    ranks.wait()
    times, before = [0.0], sent()
    together = Shards(shards, load.images, load.dimension, ranks)
    with together.shared() as searches:
        for _ in range(3) if searches else ():
            begun = time.perf_counter()
            together.search(queries, NEIGHBOURS)
            times.append(time.perf_counter() - begun)
    told = ranks.add(torch.tensor([(sent() - before) / 3]))
    return {"search": statistics.median(times[1:] or times), "search sent": float(told)}


@contextmanager
def _folder(ranks: Ranks) -> Iterator[Path]:
    """Give one folder to all processes."""
    with tempfile.TemporaryDirectory() as folder:
        names = [folder]
        if ranks.count > 1:
            dist.broadcast_object_list(names, 0, group=ranks.control)
        yield Path(names[0])
        ranks.wait()
