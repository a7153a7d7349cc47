"""Tests of the loop: it learns, resumes bitwise, stops by signal, and loses nothing."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from centre_builders.errors import CorruptArtefact, InputError, NumericError, UsageError
from semcentres.checkpoint import RunFolder
from semcentres.data.mnist_5k import mnist_5k
from semcentres.data.split import split_labels
from semcentres.data.stream import Stream
from semcentres.encoder import Encoder, small_conv
from semcentres.objectives.cluster_energy import ClusterEnergy
from semcentres.schedule import learning_rate_factor
from semcentres.settings import TrainerSettings
from semcentres.softmin import nearest
from semcentres.task import Task
from semcentres.trainer import Trainer
from semcentres.views import RandomView, plain

QUICK = TrainerSettings(
    steps=12, labelled_batch=6, unlabelled_batch=10, warmup_steps=3, log_every=2,
    checkpoint_every=5, device="cpu", teacher=True,
)  # fmt: skip
ABOUT = {"bank": "b", "data": "d"}


def make_trainer(
    settings: TrainerSettings = QUICK,
    *,
    dropout: float = 0.2,
    objective: ClusterEnergy | None = None,
) -> Trainer:
    source = mnist_5k()
    split = split_labels(source, labels_per_class=10)
    task = Task(
        images=source.train,
        labelled=Stream(split.labelled, settings.labelled_batch, 0, "labelled"),
        unlabelled=Stream(split.unlabelled, settings.unlabelled_batch, 0, "unlabelled"),
        views=[RandomView(translate=0.1), RandomView(crop=0.6, rotate=20.0, noise=0.05)],
        centres=torch.eye(10, 16),
        seed=0,
    )
    torch.manual_seed(0)
    backbone = nn.Sequential(small_conv(channels=1, dimension=16, width=4), nn.Dropout(dropout))
    mean, std = source.statistics
    encoder = Encoder(backbone, mean=mean, std=std)
    return Trainer(task, encoder, objective or ClusterEnergy(balance_weight=0.1), settings)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    both = {"encoder": trainer.raw_encoder, "teacher": trainer.teacher}
    return {f"{k}.{n}": v for k, m in both.items() for n, v in m.state_dict().items()}


class Kill(Exception):
    """Ends a run as abruptly as an exception can."""


def stop_before(trainer: Trainer, step: int) -> None:
    """Make the trainer die as it is about to do `step`."""
    go_on = trainer.step

    def dying(number: int) -> dict[str, torch.Tensor]:
        if number == step:
            raise Kill
        return go_on(number)

    trainer.step = dying  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    run = RunFolder(tmp_path_factory.mktemp("whole"))
    trainer = make_trainer()
    trainer.fit(run, about=ABOUT)
    return weights(trainer), run.records()


@pytest.mark.parametrize("stop", [0, 7, 11])
def test_resumed_run_ends_bitwise_equal(tmp_path: Path, uninterrupted, stop: int) -> None:  # noqa: ANN001
    """Stopped anywhere, with dropout, noise, a teacher and batches across epochs."""
    run = RunFolder(tmp_path)
    dying = make_trainer()
    stop_before(dying, stop)
    with pytest.raises(Kill):
        dying.fit(run, about=ABOUT)
    again = make_trainer()
    again.fit(run, about=ABOUT)
    wanted, records = uninterrupted
    for name, value in weights(again).items():
        assert torch.equal(value, wanted[name]), name
    assert run.records() == records


def test_other_seed_gives_other_weights(tmp_path: Path, uninterrupted) -> None:  # noqa: ANN001
    """So that the test above can fail: the comparison does see a difference."""
    trainer = make_trainer()
    trainer.task = replace(trainer.task, seed=1)
    trainer.fit(RunFolder(tmp_path), about=ABOUT)
    assert not torch.equal(
        weights(trainer)["encoder.backbone.0.0.weight"],
        uninterrupted[0]["encoder.backbone.0.0.weight"],
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on a CPU")
def test_compiled_encoder_learns_the_same(tmp_path: Path) -> None:
    """By the command: torch cannot compile what the tests' type checks are wrapped around."""
    words = [
        "data=mnist_5k", "encoder.width=4", "centres=one_hot", "trainer.steps=2",
        "trainer.device=cpu", "trainer.precision=32-true", "trainer.labelled_batch=6",
        "trainer.unlabelled_batch=10", "trainer.log_every=1",
    ]  # fmt: skip
    records = {}
    for compiled in ("true", "false"):
        run = tmp_path / compiled
        done = subprocess.run(
            [sys.executable, "-m", "semcentres", "train", *words, f"run_dir={run}",
             f"trainer.compile={compiled}"], capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert ("compiled, with the first step, in " in done.stderr) == (compiled == "true")
        records[compiled] = RunFolder(run).records()
    assert len(records["true"]) == 2
    for record, wanted in zip(records["true"], records["false"], strict=True):
        for name in wanted:
            assert record[name] == pytest.approx(wanted[name], rel=1e-3), name


def test_trains_on_labels_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    trainer = make_trainer(replace(QUICK, unlabelled_batch=0))
    trainer.fit(run, about=ABOUT)
    assert [record["unlabelled"] for record in run.records()] == [0.0] * 6


def test_records_reach_tensorboard_once(tmp_path: Path) -> None:
    """Also those of a run that died after its last checkpoint and repeats some steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = RunFolder(tmp_path)
    dying = make_trainer()
    stop_before(dying, 9)
    with pytest.raises(Kill):
        dying.fit(run, about=ABOUT)
    make_trainer().fit(run, about=ABOUT)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    wanted = [(record["step"], np.float32(record["loss"])) for record in run.records()]
    assert [(event.step, event.value) for event in board.Scalars("loss")] == wanted


def test_keeps_two_checkpoints_and_falls_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path)
    make_trainer().fit(run, about=ABOUT)
    assert [p.name for p in run.steps()] == ["step-00000010", "step-00000012"]
    state = run.steps()[-1] / "state.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)
    found = run.newest_checkpoint(ABOUT)
    assert found is not None
    assert found[0] == 10
    assert "step-00000012" in caplog.text


def test_all_checkpoints_damaged_is_an_error(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    make_trainer().fit(run, about=ABOUT)
    for folder in run.steps():
        (folder / "state.pt").write_bytes(b"")
    with pytest.raises(CorruptArtefact, match="restart=true"):
        run.newest_checkpoint(ABOUT)


def test_checkpoint_of_another_bank_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    make_trainer().fit(run, about=ABOUT)
    with pytest.raises(InputError, match=r"bank: 'b' there, 'other' now"):
        make_trainer().fit(run, about={**ABOUT, "bank": "other"})


def test_second_process_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with run.lock(), pytest.raises(UsageError, match="in use"), RunFolder(tmp_path).lock():
        pass


def test_infinite_loss_stops_without_saving(tmp_path: Path) -> None:
    trainer = make_trainer(replace(QUICK, learning_rate=float("inf")))
    run = RunFolder(tmp_path)
    with pytest.raises(NumericError, match="not finite at step"):
        trainer.fit(run, about=ABOUT)
    assert run.steps() == []


def test_teacher_moves_towards_the_encoder(tmp_path: Path) -> None:
    """The first step copies; the second has decay min(0.9, 2 / 11); the 200th has 0.9."""
    trainer = make_trainer(replace(QUICK, ema_decay=0.9))
    name, teacher = "backbone.0.0.weight", trainer.teacher.module
    trainer.step(0)
    old = trainer.raw_encoder.state_dict()[name].clone()
    assert torch.equal(teacher.state_dict()[name], old)
    trainer.step(1)
    new = trainer.raw_encoder.state_dict()[name].clone()
    torch.testing.assert_close(teacher.state_dict()[name], 2 / 11 * old + 9 / 11 * new)
    trainer.teacher.n_averaged.fill_(200)
    old = teacher.state_dict()[name].clone()
    trainer.step(2)
    new = trainer.raw_encoder.state_dict()[name]
    torch.testing.assert_close(teacher.state_dict()[name], 0.9 * old + 0.1 * new)


def test_learns_digits_from_few_labels(tmp_path: Path) -> None:
    """100 labels and 150 steps: far above chance on images never trained on."""
    settings = replace(
        QUICK, steps=200, labelled_batch=32, unlabelled_batch=64, learning_rate=1e-2, log_every=100
    )
    encoder = make_trainer(settings, dropout=0.0).fit(RunFolder(tmp_path), about=ABOUT)
    test = mnist_5k().test
    with torch.inference_mode():
        found = nearest(encoder.eval()(plain(test.images)), torch.eye(10, 16))
    assert (found == test.labels).double().mean() > 0.6


@pytest.mark.parametrize(
    ("step", "wanted"),
    [(0, 0.1), (9, 1.0), (10, 1.0), (55, 0.5), (99, 0.5 - 0.5 * np.cos(np.pi / 90))],
)
def test_learning_rate(step: int, wanted: float) -> None:
    factor = learning_rate_factor(step, num_steps=100, warmup=10)
    assert factor == pytest.approx(float(wanted), abs=1e-6)


TRAIN = [
    "train", "data=mnist_5k", "centres=one_hot", "encoder.width=4", "trainer.steps=100000",
    "trainer.labelled_batch=8", "trainer.unlabelled_batch=8", "trainer.log_every=1",
]  # fmt: skip


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (None, 75)]
)
def test_stopped_run_saves_and_exits_with_its_code(
    tmp_path: Path, signum: signal.Signals | None, code: int
) -> None:
    """By a signal, or because its time is over."""
    words = [*TRAIN, f"run_dir={tmp_path / 'run'}"]
    if signum is None:
        words.append("max_time=00:00:02")
    process = subprocess.Popen(
        [sys.executable, "-m", "semcentres", *words], stderr=subprocess.PIPE, text=True
    )
    records = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (records.exists() and len(records.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if signum is not None:
        process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.splitlines()[-1].endswith(f"go on with: semcentres {shlex.join(words)}")
    (checkpoint,) = RunFolder(tmp_path / "run").steps()
    step = json.loads((checkpoint / "MANIFEST.json").read_text())["about"]["step"]
    assert step == RunFolder(tmp_path / "run").records()[-1]["step"]


def test_signal_while_a_trained_run_is_assessed_loses_nothing(tmp_path: Path) -> None:
    words = [*TRAIN, "trainer.steps=3", "trainer.warmup_steps=1", f"run_dir={tmp_path / 'run'}"]
    command = [sys.executable, "-m", "semcentres", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "embedding" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()
    assert process.returncode == 143
    told = "stopped by SIGTERM after step 3, saved; go on with: semcentres"
    assert errors.splitlines()[-1] == f"semcentres: {told} {shlex.join(words)}"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "at step 3" in done.stderr
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        RunFolder(tmp_path).newest_checkpoint(ABOUT)


def largest_share(objective: ClusterEnergy, folder: Path) -> float:
    """Train without a teacher and return the share of test digits at the most popular centre."""
    settings = replace(
        QUICK, steps=80, labelled_batch=16, unlabelled_batch=48, learning_rate=2e-2,
        teacher=False, log_every=80, checkpoint_every=80,
    )  # fmt: skip
    encoder = make_trainer(settings, dropout=0.0, objective=objective).fit(
        RunFolder(folder), about=ABOUT
    )
    with torch.inference_mode():
        found = nearest(encoder.eval()(plain(mnist_5k().test.images)), torch.eye(10, 16))
    return found.bincount().max().item() / len(found)


def test_balance_is_what_keeps_the_classes_apart(tmp_path: Path) -> None:
    """Below the safe temperature, the seed's two terms alone still send all to one centre."""
    assert largest_share(ClusterEnergy(balance_weight=0.0), tmp_path / "without") > 0.9
    assert largest_share(ClusterEnergy(), tmp_path / "with") < 0.5


def test_assignments_of_all_unlabelled_images_are_watched(tmp_path: Path, uninterrupted) -> None:  # noqa: ANN001
    """Every third step, across a kill; the look is no part of the training."""
    settings = replace(QUICK, assignment_every=3)
    run = RunFolder(tmp_path)
    dying = make_trainer(settings)
    stop_before(dying, 8)
    with pytest.raises(Kill):
        dying.fit(run, about=ABOUT)
    trainer = make_trainer(settings)
    trainer.fit(run, about=ABOUT)
    assert torch.equal(
        weights(trainer)["encoder.backbone.0.0.weight"],
        uninterrupted[0]["encoder.backbone.0.0.weight"],
    )
    looks = [record for record in run.records() if "assigned" in record]
    assert [look["step"] for look in looks] == [3, 6, 9, 12]
    whole = RunFolder(tmp_path / "whole")
    make_trainer(settings).fit(whole, about=ABOUT)
    assert run.records() == whole.records()
    memory = trainer.remember()
    rows = trainer.task.unlabelled.rows
    ids = nearest(memory.embeddings[rows], trainer.task.centres)
    assert looks[-1]["assigned"] == torch.bincount(ids, minlength=10).tolist()
    assert looks[-1]["assignment_largest"] == max(looks[-1]["assigned"]) / len(rows)
    assert looks[0]["assignment_churn"] == 1
    assert 0 < looks[-1]["assignment_churn"] < 1
    assert trainer.watch.look(memory)["assignment_churn"] == 0
    assert memory.labels[trainer.task.labelled.rows].min() >= 0
    assert (memory.labels[rows] == -1).all()
