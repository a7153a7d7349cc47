"""A step's batch: the views of each rank's share, embedded in one pass and gathered."""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor, nn

from semcentres.objectives.adversarial import Attacking
from semcentres.objectives.batch import EmbeddedBatch, Objective
from semcentres.randomness import generator
from semcentres.ranks import Ranks
from semcentres.task import Task


@dataclass(frozen=True, eq=False)
class Batches:
    """What a run's batches are made with; each is a function of (seed, step).

    Args:
        task: images, streams and views.
        encoder: that learns, as Fabric wraps it.
        raw_encoder: the same, unwrapped; it is what an attack sees.
        teacher: embeds the first view of unlabelled images in place of the encoder; None for none.
        objective: it may attack, and sees the batches.
        fabric: of the run.
        ranks: that share a batch.
    """

    task: Task
    encoder: nn.Module
    raw_encoder: nn.Module
    teacher: nn.Module | None
    objective: Objective
    fabric: Fabric
    ranks: Ranks

    @property
    def size(self) -> int:
        """Return the number of images of a batch."""
        return len(self.task.labelled.at(0)) + len(self.task.unlabelled.at(0))

    def embedded(self, step: int, *, progress: float, diagnose: bool) -> EmbeddedBatch:
        """Embed both streams' views of a step in one pass, so that they share batch statistics.

        Args:
            step: counted from 0.
            progress: share of the run that is done, in [0, 1).
            diagnose: whether the objective is to add its diagnostics.
        """
        task = self.task
        labelled_rows, unlabelled_rows = task.labelled.at(step), task.unlabelled.at(step)
        labelled = self._views(labelled_rows, step, "labelled")
        unlabelled = self._views(unlabelled_rows, step, "unlabelled")
        labels = task.images.labels[labelled_rows]
        if isinstance(self.objective, Attacking):
            attack = partial(self.objective.attack, self.raw_encoder, task.centres)
            with self.fabric.autocast():
                own_labels = labels[self.ranks.share(len(labels)).rows]
                labelled.append(attack(labelled[0], own_labels))
                unlabelled.append(attack(unlabelled[0], None))
        taught = [] if self.teacher is None else [self._taught(self.teacher, unlabelled.pop(0))]
        sizes = [len(view) for view in (*labelled, *unlabelled)]
        inputs = torch.cat([*labelled, *unlabelled])
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        parts = self.encoder(inputs).split(sizes)
        own = [*parts[: len(labelled)], *taught, *parts[len(labelled) :]]
        nums = [len(labelled_rows)] * len(labelled) + [len(unlabelled_rows)] * len(labelled)
        embedded = self.ranks.gather(own, nums)
        return EmbeddedBatch(
            labelled=tuple(embedded[: len(labelled)]),
            labels=labels,
            unlabelled=tuple(embedded[len(labelled) :]),
            centres=task.centres,
            progress=progress,
            labelled_rows=labelled_rows,
            unlabelled_rows=unlabelled_rows,
            unlabelled_truth=task.images.labels[unlabelled_rows],
            diagnose=diagnose,
        )

    def seen(self, step: int) -> dict[str, list[Tensor]]:
        """Return this rank's views of each image of a step, by what the image is called."""
        task, seen = self.task, {}
        for stream, name in ((task.labelled, "labelled"), (task.unlabelled, "unlabelled")):
            rows = stream.at(step)
            own = rows[self.ranks.share(len(rows)).rows].tolist()
            for row, *views in zip(own, *self._views(rows, step, name), strict=True):
                seen[task.images.ids[row] if task.images.ids else str(row)] = views
        return seen

    def _views(self, rows: Int[Tensor, " B"], step: int, stream: str) -> list[Tensor]:
        share = self.ranks.share(len(rows))
        images = self.task.batch(rows[share.rows])
        # The 0 was the rank's place, and is kept so that older runs go on as they began.
        keys = (self.task.seed, step, 0, stream)
        more = (share,) if self.ranks.count > 1 else ()
        return [
            view(images, generator(*keys, number, device=self.fabric.device), *more)
            for number, view in enumerate(self.task.views)
        ]

    @torch.no_grad()
    def _taught(self, teacher: nn.Module, inputs: Tensor) -> Float[Tensor, "B D"]:
        with self.fabric.autocast():
            embeddings: Tensor = teacher(inputs)
        return embeddings
