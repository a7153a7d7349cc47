"""One loop: batch, views, objective, step, log, save, stop. It knows no objective by name.

Every random draw is a function of (seed, step), so that a resumed run ends with the same bits as
an uninterrupted one on the same machine and number of threads.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from centre_builders.errors import NumericError, UsageError
from semcentres.checkpoint import Record, RunFolder
from semcentres.embedding import embed
from semcentres.encoder import Encoder, keep_features
from semcentres.hardware import make_fabric, wait_for
from semcentres.interrupt import Stopped, interrupts
from semcentres.objectives.adversarial import Attacking
from semcentres.objectives.batch import EmbeddedBatch, Objective
from semcentres.objectives.memory import Memory, Remembering
from semcentres.progress import Progress, Stopwatch
from semcentres.randomness import generator
from semcentres.schedule import learning_rate_factor, moving_average
from semcentres.settings import TrainerSettings
from semcentres.task import Task
from semcentres.watch import AssignmentWatch

log = logging.getLogger(__name__)


class Trainer:
    """An encoder in training, with all that a checkpoint must hold."""

    def __init__(
        self,
        task: Task,
        encoder: Encoder,
        objective: Objective,
        settings: TrainerSettings,
    ) -> None:
        self.settings = settings
        self.fabric = make_fabric(settings)
        device = self.fabric.device
        self.task = task.on(device)
        self.objective = objective.to(device) if isinstance(objective, nn.Module) else objective
        encoder = encoder.to(device).to(memory_format=torch.channels_last)
        if settings.learn == "last":
            keep_features(encoder)
        elif settings.learn != "all":
            raise UsageError(f"trainer.learn={settings.learn}: there are all, last")
        average = partial(moving_average, decay=settings.ema_decay)
        self.teacher = AveragedModel(encoder, multi_avg_fn=average, use_buffers=True)
        self.teacher.requires_grad_(requires_grad=False).eval()
        learnt = [weight for weight in encoder.parameters() if weight.requires_grad]
        if isinstance(self.objective, nn.Module):
            learnt += self.objective.parameters()
        optimiser = torch.optim.AdamW(
            learnt, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        rate = partial(learning_rate_factor, num_steps=settings.steps, warmup=settings.warmup_steps)
        self.scheduler = LambdaLR(optimiser, rate)
        self.watch, self.stopwatch = AssignmentWatch(), Stopwatch()
        self.raw_encoder = encoder
        if settings.compile:
            encoder.compile()
        self.encoder, self.optimiser = self.fabric.setup(encoder, optimiser)

    def fit(
        self,
        run: RunFolder,
        *,
        about: Mapping[str, Any],
        evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    ) -> nn.Module:
        """Train to the last step, from the newest checkpoint of `run` if there is one.

        Args:
            run: where checkpoints and records go.
            about: what the run is made with; a checkpoint made with something else is refused.
            evaluate: called on the averaged encoder at every checkpoint; its numbers are logged.

        Returns:
            The averaged (EMA) encoder.

        Raises:
            Stopped: SIGTERM or SIGINT arrived; a checkpoint holds all that was done.
            NumericError: the loss became infinite or not a number.
        """
        settings = self.settings
        start = self._resume(run, about)
        began = time.monotonic()
        with (
            interrupts() as interrupt,
            run.logbook(start) as append,
            Progress(settings.steps, start) as progress,
        ):
            for step in range(start, settings.steps):
                with self.stopwatch:
                    terms = self.step(step)
                done = step + 1
                if settings.compile and step == start:
                    log.info("compiled, with the first step, in %.0f s", time.monotonic() - began)
                last = done == settings.steps
                watched = self._watch(done)
                if self._logged(done) or watched:
                    record = self._record(done, terms) | watched
                    append(record)
                    rate = (done - start) * self._batch_size() / (time.monotonic() - began)
                    progress.show(done, record, images_per_second=rate)
                due = done % settings.checkpoint_every == 0 or last
                if due or interrupt.signum:
                    # Not on a signal: it would take the time that is left, and a resumed run
                    # would have one record more.
                    if due and evaluate is not None:
                        with self.stopwatch:
                            wait_for(self.fabric.device)
                        scores = evaluate(self.teacher.module)
                        crops = done * self._batch_size() * len(self.task.views)
                        spent = {"image_crops": crops, "seconds": self.stopwatch.seconds}
                        append({"step": done, **spent, **scores})
                        progress.show(done, scores)
                    self.save(run, step=done, about=about)
                if interrupt.signum:
                    raise Stopped(interrupt.signum, done)
        return self.teacher.module

    def step(self, step: int) -> dict[str, Tensor]:
        """Do one optimiser step, counted from 0, and return the objective's terms."""
        # Layers that draw (dropout) use the global generator: it too depends on (seed, step).
        torch.manual_seed(generator(self.task.seed, step, "layers").initial_seed())
        if isinstance(self.objective, Remembering):
            self.objective.before_step(step, self.remember)
        terms = self.objective(self._embedded_batch(step))
        self.optimiser.zero_grad()
        self.fabric.backward(terms["loss"])
        self.optimiser.step()
        self.scheduler.step()
        self.teacher.update_parameters(self.raw_encoder)
        return terms

    def _watch(self, done: int) -> Record:
        every = self.settings.assignment_every
        return self.watch.look(self.remember()) if every and done % every == 0 else {}

    def remember(self) -> Memory:
        """Return all training images as the averaged encoder sees them now."""
        task = self.task
        with self.fabric.autocast():
            embeddings = embed(self.teacher.module, task.images.images)
        rows = torch.from_numpy(embeddings).to(self.fabric.device)
        return Memory(rows, task.known_labels(), task.used(), task.centres, task.seed)

    def save(self, run: RunFolder, *, step: int, about: Mapping[str, Any]) -> None:
        """Write a checkpoint; never one with a weight that is not finite."""
        for name, weight in self.raw_encoder.state_dict().items():
            if not weight.isfinite().all():
                raise NumericError(
                    f"weight {name} is not finite at step {step}; the checkpoint before it is kept;"
                    " lower trainer.learning_rate or set trainer.precision=32-true"
                )
        run.save_checkpoint(self._state(), step=step, about=dict(about))

    def _resume(self, run: RunFolder, about: Mapping[str, Any]) -> int:
        found = run.newest_checkpoint(about)
        if found is None:
            return 0
        step, state = found
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        log.info("resuming %s at step %d", run.path, step)
        return step

    def _parts(self) -> dict[str, Any]:
        parts = {
            "encoder": self.raw_encoder,
            "teacher": self.teacher,
            "optimiser": self.optimiser,
            "scheduler": self.scheduler,
            "watch": self.watch,
            "stopwatch": self.stopwatch,
        }
        if isinstance(self.objective, nn.Module):
            parts["objective"] = self.objective
        return parts

    def _state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def _batch_size(self) -> int:
        return len(self.task.labelled.at(0)) + len(self.task.unlabelled.at(0))

    def _record(self, step: int, terms: Mapping[str, Tensor]) -> Record:
        """Return the terms as numbers; this is where the host waits for the device."""
        record: Record = {name: float(value.detach()) for name, value in terms.items()}
        if not all(map(math.isfinite, record.values())):
            raise NumericError(
                f"the loss is not finite at step {step} ({record}); the last checkpoint is kept;"
                " lower trainer.learning_rate or set trainer.precision=32-true"
            )
        return {"step": step, **record, "learning_rate": float(self.scheduler.get_last_lr()[0])}

    def _embedded_batch(self, step: int) -> EmbeddedBatch:
        """Embed both streams' views of a step in one pass, so that they share batch statistics."""
        task = self.task
        share = slice(self.fabric.global_rank, None, self.fabric.world_size)
        labelled_rows = task.labelled.at(step)[share]
        unlabelled_rows = task.unlabelled.at(step)[share]
        labelled = self._views(labelled_rows, step, "labelled")
        unlabelled = self._views(unlabelled_rows, step, "unlabelled")
        labels = task.images.labels[labelled_rows]
        if isinstance(self.objective, Attacking):
            attack = partial(self.objective.attack, self.raw_encoder, task.centres)
            with self.fabric.autocast():
                labelled.append(attack(labelled[0], labels))
                unlabelled.append(attack(unlabelled[0], None))
        taught = [self._teach(unlabelled.pop(0))] if self.settings.teacher else []
        sizes = [len(view) for view in (*labelled, *unlabelled)]
        inputs = torch.cat([*labelled, *unlabelled])
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        embedded = self.encoder(inputs).split(sizes)
        return EmbeddedBatch(
            labelled=tuple(embedded[: len(labelled)]),
            labels=labels,
            unlabelled=(*taught, *embedded[len(labelled) :]),
            centres=task.centres,
            progress=step / self.settings.steps,
            labelled_rows=labelled_rows,
            unlabelled_rows=unlabelled_rows,
            unlabelled_truth=task.images.labels[unlabelled_rows],
            diagnose=self._logged(step + 1),
        )

    def _logged(self, done: int) -> bool:
        return done % self.settings.log_every == 0 or done == self.settings.steps

    def _views(self, rows: Tensor, step: int, stream: str) -> list[Tensor]:
        images = self.task.batch(rows)
        device = self.fabric.device
        keys = (self.task.seed, step, self.fabric.global_rank, stream)
        return [
            view(images, generator(*keys, number, device=device))
            for number, view in enumerate(self.task.views)
        ]

    @torch.no_grad()
    def _teach(self, inputs: Tensor) -> Tensor:
        with self.fabric.autocast():
            embeddings: Tensor = self.teacher(inputs)
        return embeddings
