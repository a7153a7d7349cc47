"""What each process does in the tests of several: `python ranks_worker.py WHAT FOLDER [FAULT]`.

Under torchrun it is one of them, without it the one to compare with.
"""

import logging
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from centre_builders.errors import InputError
from semcentres.attention import attend, centres_shared_by
from semcentres.checkpoint import RunFolder
from semcentres.cli import guarded
from semcentres.data.source import ImageSet
from semcentres.data.stream import Stream
from semcentres.embedding import embed_together
from semcentres.encoder import Encoder, small_conv
from semcentres.objectives.batch import Objective
from semcentres.objectives.cluster_energy import ClusterEnergy
from semcentres.objectives.cross_entropy import CrossEntropy
from semcentres.objectives.pcl import ProtoNCE
from semcentres.ranks import launched
from semcentres.settings import TrainerSettings
from semcentres.shared_weights import own, whole
from semcentres.softmin import softmin
from semcentres.task import Task
from semcentres.trainer import Trainer
from semcentres.views import RandomView
from semcentres.watchdog import together

# Odd batches, of which two ranks have unequal shares.
SETTINGS = TrainerSettings(
    steps=6, labelled_batch=5, unlabelled_batch=9, warmup_steps=2, log_every=1,
    checkpoint_every=4, device="cpu", precision="32-true", rank_timeout=60.0, assignment_every=3,
)  # fmt: skip
ABOUT = {"bank": "b", "data": "d"}
CLASSES, WIDTH = 4, 6


def make_trainer(settings: TrainerSettings, objective: Objective, dropout: float = 0.0) -> Trainer:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(256, (60, 1, 12, 12), generator=rng, dtype=torch.uint8)
    labels = torch.arange(60) % CLASSES
    task = Task(
        images=ImageSet(images, labels),
        labelled=Stream(torch.arange(20), settings.labelled_batch, 0, "labelled"),
        unlabelled=Stream(torch.arange(20, 50), settings.unlabelled_batch, 0, "unlabelled"),
        views=[RandomView(translate=0.1), RandomView(crop=0.6, erase=0.3, noise=0.05)],
        centres=torch.eye(CLASSES, WIDTH),
        seed=0,
    )
    torch.manual_seed(0)
    conv = small_conv(channels=1, dimension=WIDTH, width=4, hidden=8)
    encoder = Encoder(nn.Sequential(conv, nn.Dropout(dropout)), mean=[0.5], std=[0.25])
    torch.manual_seed(1)
    return Trainer(task, encoder, objective, settings)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    parts = {"encoder": trainer.raw_encoder, "teacher": trainer.teacher}
    if isinstance(trainer.objective, nn.Module):
        parts["objective"] = trainer.objective
    states = ((k, m.state_dict()) for k, m in parts.items())
    return {f"{k}.{n}": whole(v) for k, s in states for n, v in s.items() if isinstance(v, Tensor)}


def objectives() -> dict[str, tuple[Objective, TrainerSettings]]:
    torch.manual_seed(launched()[0])  # the second rank's are to become the first's
    head = CrossEntropy(num_classes=CLASSES, dimension=WIDTH)
    clusters = ProtoNCE(num_clusters=[3], num_negatives=2, warmup=0.0, refresh_every=2)
    return {
        "energy": (ClusterEnergy(balance_weight=0.1), replace(SETTINGS, teacher=True)),
        "clusters": (clusters, SETTINGS),
        "head": (head, replace(SETTINGS, unlabelled_batch=0)),
    }


class Kill(Exception):
    """Ends a run as abruptly as an exception can."""


def interrupted(
    folder: Path, settings: TrainerSettings, stop: int, then: TrainerSettings | None = None
) -> Trainer:
    """Die before a step, then begin again, with other settings if there are any, and finish."""
    die(make_trainer(settings, ClusterEnergy(), dropout=0.2), folder, stop)
    again = make_trainer(then or settings, ClusterEnergy(), dropout=0.2)
    again.fit(RunFolder(folder), about=ABOUT)
    return again


def die(trainer: Trainer, folder: Path, stop: int) -> None:
    """Train until a step, at which the run ends without a word."""
    go_on = trainer.step

    def dying(step: int) -> dict[str, Tensor]:
        if step == stop:
            raise Kill
        return go_on(step)

    trainer.step = dying  # type: ignore[method-assign]
    try:
        trainer.fit(RunFolder(folder), about=ABOUT)
    except Kill:
        trainer.ranks.wait()  # the checkpoint is the first's to write


def shards(trainer: Trainer) -> dict[str, Tensor]:
    """The soft-min over more centres than are compared at once, shared by the ranks."""
    rng = torch.Generator().manual_seed(3)
    rows = nn.functional.normalize(torch.randn(7, WIDTH, generator=rng), dim=1).requires_grad_()
    centres = nn.functional.normalize(torch.randn(3001, WIDTH, generator=rng), dim=1)
    with centres_shared_by(trainer.ranks):
        value = softmin(rows, centres, temperature=0.2)
        found = attend(rows.detach(), centres, scale=10.0)
    value.square().sum().backward()
    assert rows.grad is not None
    return {"value": value.detach(), "gradient": rows.grad, "mean": found.mean, "lse": found.lse}


def gradients(objective: Objective) -> dict[str, Tensor]:
    """The encoder's, of the first step; weights after AdamW's do not tell how large they were."""
    trainer = make_trainer(SETTINGS, objective)
    trainer._descend(0)
    named = trainer.raw_encoder.named_parameters()
    return {name: weight.grad for name, weight in named if weight.grad is not None}


def from_one(folder: Path, name: str, count: int) -> dict[str, Tensor]:
    """One process dies after a checkpoint, from which two go on; return their weights."""
    objective, settings = objectives()[name]
    trainer, run = make_trainer(settings, objective), RunFolder(folder / f"from one {name}")
    if count == 1:
        die(trainer, run.path, stop=5)
    else:
        assert run.steps()
        trainer.fit(run, about=ABOUT)
    return weights(trainer)


def mathematics(folder: Path) -> None:
    rank, count = launched()
    found: dict[str, object] = {}
    with together(SETTINGS):
        trained = objectives()
        if count > 1:
            for name, (objective, settings) in objectives().items():
                trained[f"{name}, shared"] = (objective, replace(settings, shard=True))
        for name, (objective, settings) in trained.items():
            run = RunFolder(folder / f"{name}{count}")
            trainer = make_trainer(settings, objective)
            trainer.fit(run, about=ABOUT)
            records = [{k: v for k, v in r.items() if k != "seconds"} for r in run.records()]
            found[name] = {"weights": weights(trainer), "records": records}
        found["softmin"] = shards(trainer)
        found["gradients"] = gradients(ClusterEnergy())
        images = torch.arange(2600 * 144).view(-1, 1, 12, 12).to(torch.uint8)
        fresh = make_trainer(SETTINGS, ClusterEnergy())
        rows = embed_together(fresh.teacher.module, images, fresh.ranks)
        few = embed_together(fresh.teacher.module, images[:3], fresh.ranks)
        order = torch.arange(len(images)).flip(0)[:2500]
        only_first = embed_together(
            fresh.teacher.module, images, fresh.ranks, rows=order, everywhere=False
        )
        found["embedded"] = {"rows": torch.tensor(rows), "few": torch.tensor(few)}
        found["of the first"] = torch.tensor(only_first)
        found["from one"] = {name: from_one(folder, name, count) for name in ("energy", "clusters")}
        if count > 1:
            settings = replace(SETTINGS, teacher=True)
            for name, kind in (("", settings), (", shared", replace(settings, shard=True))):
                at_once = make_trainer(kind, ClusterEnergy(), dropout=0.2)
                at_once.fit(RunFolder(folder / f"whole{name}"), about=ABOUT)
                found[f"whole{name}"] = weights(at_once)
                again = interrupted(folder / f"resumed{name}", kind, stop=5)
                found[f"resumed{name}"] = weights(again)
            held = [own(weight).numel() for weight in again.raw_encoder.parameters()]
            moments = again.optimiser.state_dict()["state"]
            held += [own(m["exp_avg"]).numel() for m in moments.values()]
            found["held"] = sum(held)
            found["all"] = 2 * sum(weight.numel() for weight in again.raw_encoder.parameters())
            for name, then in (("alone", settings), ("shared", replace(settings, shard=True))):
                first = replace(settings, shard=name == "alone")
                again = interrupted(folder / f"then {name}", first, stop=5, then=then)
                found[f"then {name}"] = weights(again)
            try:
                make_trainer(settings, ClusterEnergy()).fit(
                    RunFolder(folder / "uneven"), about={**ABOUT, "data": f"d{rank}"}
                )
            except InputError as error:
                found["uneven"] = str(error)
            try:
                make_trainer(replace(settings, labelled_batch=1), ClusterEnergy())
            except InputError as error:
                found["small"] = str(error)
    torch.save(found, folder / f"found{count}.{rank}")


def faulty(folder: Path, fault: str) -> None:
    """Train slowly; from step 3 on rank 1 does what the fault says, or has nothing to do."""
    settings = replace(SETTINGS, steps=400, checkpoint_every=2, rank_timeout=15.0, teacher=True)
    settings = replace(settings, assignment_every=0)
    with together(settings):
        if fault == "alone":
            (folder / f"pid{launched()[0]}").write_text(str(os.getpid()))
            time.sleep(1000 if launched()[0] == 0 else 0)
            return
        trainer = make_trainer(settings, ClusterEnergy())
        go_on = trainer.step

        def step(number: int) -> dict[str, Tensor]:
            (folder / f"pid{launched()[0]}").write_text(str(os.getpid()))
            if number == 3 and launched()[0] == 1:
                if fault == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                if fault == "hung":
                    time.sleep(1000)
                if fault == "frozen":
                    os.kill(os.getpid(), signal.SIGSTOP)
                if fault == "raising":
                    raise InputError("image 7 cannot be read")
            time.sleep(0.05 if fault == "stopped" else 0)
            return go_on(number)

        trainer.step = step  # type: ignore[method-assign]
        trainer.fit(RunFolder(folder / "run"), about=ABOUT)


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    what, place, *more = sys.argv[1:]
    work = mathematics if what == "mathematics" else faulty
    sys.exit(guarded(lambda: work(Path(place), *more), ["train"]))
