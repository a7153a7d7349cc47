"""One loop: batch, views, objective, step, log, save, stop. It knows no objective by name.

Every random draw is a function of (seed, step), so that a resumed run ends with the same bits as
an uninterrupted one on the same machine and number of threads.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from centre_builders.errors import InputError, NumericError, UsageError
from semcentres.attention import centres_shared_by
from semcentres.batches import Batches
from semcentres.checkpoint import Record, RunFolder
from semcentres.embedding import embed_together
from semcentres.encoder import Encoder, keep_features
from semcentres.finite import (
    IN_A_ROW,
    FiniteGuard,
    in_batch,
    likely_cause,
    not_finite,
    too_many_skipped,
)
from semcentres.hardware import make_fabric, wait_for
from semcentres.interrupt import Stopped, interrupts
from semcentres.joint_norm import join_norms
from semcentres.objectives.batch import Objective
from semcentres.objectives.memory import Memory, Remembering
from semcentres.progress import Progress, Stopwatch
from semcentres.randomness import generator
from semcentres.ranks import join
from semcentres.schedule import learning_rate_factor, moving_average
from semcentres.settings import TrainerSettings
from semcentres.shared_weights import Whole, restore, whole
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
        self.ranks = join(settings.rank_timeout)
        self.ranks.check_batch(settings.labelled_batch)
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
        if self.ranks.count > 1:
            # After the copy that is kept: the averaged encoder has layers for one process.
            join_norms(encoder, device)
        self.raw_encoder = encoder
        if settings.compile:
            encoder.compile()
        self.ranks.take_from_first(encoder)
        wrapped = self.fabric.setup_module(encoder)
        learnt, more = [weight for weight in encoder.parameters() if weight.requires_grad], []
        if isinstance(self.objective, nn.Module):
            self.ranks.take_from_first(self.objective)
            more = list(self.objective.parameters())
        # Weights that are shared and others cannot be of one group.
        groups = [learnt, more] if settings.shard else [learnt + more]
        optimiser = torch.optim.AdamW(
            [{"params": group} for group in groups if group],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.optimiser: Any = self.fabric.setup_optimizers(optimiser)
        rate = partial(learning_rate_factor, num_steps=settings.steps, warmup=settings.warmup_steps)
        self.scheduler = LambdaLR(optimiser, rate)
        self.watch, self.stopwatch = AssignmentWatch(), Stopwatch()
        teacher = self.teacher if settings.teacher else None
        self.batches = Batches(
            self.task, wrapped, encoder, teacher, self.objective, self.fabric, self.ranks
        )
        buffered = [m for m in (encoder, self.objective) if isinstance(m, nn.Module)]
        self.guard = FiniteGuard(self.fabric, optimiser, buffered)

    def fit(
        self,
        run: RunFolder,
        *,
        about: Mapping[str, Any],
        evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
        max_seconds: float | None = None,
        force: Collection[str] = (),
    ) -> nn.Module:
        """Train to the last step, from the newest checkpoint of `run` if there is one.

        Args:
            run: where checkpoints and records go.
            about: what the run is made with; a checkpoint made with something else is refused.
            evaluate: called on the averaged encoder at every checkpoint; its numbers are logged.
            max_seconds: after which the run is saved and stopped; None sets no limit.
            force: of `about`, what may differ from a checkpoint all the same.

        Returns:
            The averaged (EMA) encoder.

        Raises:
            Stopped: SIGTERM or SIGINT arrived, or the time is over; a checkpoint holds all that
                was done.
            NumericError: steps in a row, or weights, were not finite.
        """
        settings = self.settings
        self.ranks.check_same("data and bank", dict(about))
        start = self._resume(run, about, force)
        self.ranks.check_same("checkpoint to go on from", start)
        began = time.monotonic()
        with (
            interrupts(max_seconds) as interrupt,
            run.logbook(start, write=self.ranks.first) as append,
            Progress(settings.steps, start, show=self.ranks.first) as progress,
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
                    rate = (done - start) * self.batches.size / (time.monotonic() - began)
                    progress.show(done, record, images_per_second=rate)
                due = done % settings.checkpoint_every == 0 or last
                signum = self.ranks.signal(interrupt.signum)
                if due or signum:
                    # Not on a signal: it would take the time that is left, and a resumed run
                    # would have one record more.
                    if due and evaluate is not None:
                        with self.stopwatch:
                            wait_for(self.fabric.device)
                        scores = evaluate(self.teacher.module)
                        crops = done * self.batches.size * len(self.task.views)
                        spent = {"image_crops": crops, "seconds": self.stopwatch.seconds}
                        append({"step": done, **spent, **scores})
                        progress.show(done, scores)
                    self.save(run, step=done, about=about)
                if signum:
                    self.ranks.wait()  # until it is saved
                    raise Stopped(signum, done)
        return self.teacher.module

    def step(self, step: int) -> dict[str, Tensor]:
        """Do one optimiser step, counted from 0, and return the objective's terms."""
        # Layers that draw (dropout) use the global generator: it too depends on (seed, step).
        keys = ("layers", self.ranks.rank) if self.ranks.rank else ("layers",)
        torch.manual_seed(generator(self.task.seed, step, *keys).initial_seed())
        if isinstance(self.objective, Remembering):
            self.objective.before_step(step, self.remember)
        self.guard.before()
        terms = self._descend(step)
        self.guard.judge(terms["loss"], step)
        self.optimiser.step()
        self.scheduler.step()
        self.teacher.update_parameters(cast(nn.Module, Whole(self.raw_encoder)))
        return terms

    def _descend(self, step: int) -> dict[str, Tensor]:
        """Compute a step's terms and gradients."""
        batch = self.batches.embedded(
            step, progress=step / self.settings.steps, diagnose=self._logged(step + 1)
        )
        with centres_shared_by(self.ranks):
            terms = self.objective(batch)
        self.optimiser.zero_grad()
        self.fabric.backward(terms["loss"])
        return terms

    def _watch(self, done: int) -> Record:
        every = self.settings.assignment_every
        return self.watch.look(self.remember()) if every and done % every == 0 else {}

    def remember(self) -> Memory:
        """Return all training images as the averaged encoder sees them now."""
        task = self.task
        with self.fabric.autocast():
            embeddings = embed_together(self.teacher.module, task.images.images, self.ranks)
        rows = torch.from_numpy(embeddings)
        spoilt = (~rows.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if spoilt:  # nothing near them can be searched for
            _, row, first = self.guard.read()
            if row:
                raise self._spoilt(row, first)
            ids = task.images.ids or range(len(rows))
            named = ", ".join(str(ids[row]) for row in spoilt[:5])
            raise NumericError(
                f"embeddings of images {named} by the averaged encoder are not finite, though all"
                " of its weights and gradients are; lower trainer.learning_rate or set"
                " trainer.precision=32-true"
            )
        rows = rows.to(self.fabric.device)
        return Memory(rows, task.known_labels(), task.used(), task.centres, task.seed)

    def save(self, run: RunFolder, *, step: int, about: Mapping[str, Any]) -> None:
        """Write a checkpoint; never one with a number that is not finite."""
        self._skipped()
        state = self._state()
        for name in not_finite(state):
            _, row, first = self.guard.read()
            since = f", nor gradients from step {first} on" if row else ""
            batch = in_batch(self.batches.seen(first if row else step - 1))
            raise NumericError(
                f"{name} is not finite at step {step}{since}, {batch}; the checkpoint before it is"
                " kept; lower trainer.learning_rate or set trainer.precision=32-true"
            )
        if self.ranks.first:
            run.save_checkpoint(state, step=step, about=dict(about))

    def _skipped(self) -> int:
        """Return how many steps were skipped so far.

        Raises:
            NumericError: too many in a row.
        """
        skipped, row, first = self.guard.read()
        if row >= IN_A_ROW:
            raise self._spoilt(row, first)
        return skipped

    def _spoilt(self, row: int, first: int) -> NumericError:
        """Return the error of so many skipped steps, the first of which is done again for it."""
        terms = self._descend(first)
        cause = likely_cause(self.raw_encoder, self.batches.seen(first), terms)
        return too_many_skipped(row, first, cause)

    def _resume(self, run: RunFolder, about: Mapping[str, Any], force: Collection[str]) -> int:
        found = run.newest_checkpoint(about, force)
        if found is None:
            return 0
        step, state = found
        try:
            for name, part in self._parts().items():
                restore(part, state[name])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"the checkpoint of step {step} in {run.path} does not fit this encoder, objective"
                f" or version ({error}); choose another run_dir, or set restart=true to begin again"
            ) from error
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
            "guard": self.guard,
        }
        if isinstance(self.objective, nn.Module):
            parts["objective"] = self.objective
        return parts

    def _state(self) -> dict[str, Any]:
        return {name: whole(part.state_dict()) for name, part in self._parts().items()}

    def _record(self, step: int, terms: Mapping[str, Tensor]) -> Record:
        """Return the terms as numbers; this is where the host waits for the device."""
        found = {name: float(value.detach()) for name, value in terms.items()}
        record: Record = {k: v for k, v in found.items() if math.isfinite(v)}
        if skipped := self._skipped():
            record["skipped_steps"] = skipped
        return {"step": step, **record, "learning_rate": float(self.scheduler.get_last_lr()[0])}

    def _logged(self, done: int) -> bool:
        return done % self.settings.log_every == 0 or done == self.settings.steps
