"""Two processes of which one fails, dies, hangs or is told to stop: the others end, and say why."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from semcentres.checkpoint import RunFolder
from semcentres.messages import _is_sibling

WORKER = Path(__file__).parent / "ranks_worker.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}
TIMEOUT = 15  # seconds, of the worker
ABOUT = {"bank": "b", "data": "d"}
FAULTS = ["raising", "killed", "hung", "frozen", "stopped", "alone"]

Started = dict[str, tuple[subprocess.Popen[str], Path]]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """All of them at once, since they mostly wait."""
    found = {}
    for fault in FAULTS:
        folder = tmp_path_factory.mktemp(fault)
        with (folder / "said").open("w") as said:
            words = [*TORCHRUN, str(WORKER), "faulty", str(folder), fault]
            found[fault] = (subprocess.Popen(words, env=QUIET, stderr=said, text=True), folder)
    yield found
    for process, folder in found.values():
        process.kill()
        process.wait()
        for pid in pids(folder):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("raising", "rank 0: rank 1 failed with InputError: image 7 cannot be read"),
        ("killed", "rank 0: rank 1 is gone: killed"),
        ("hung", f"rank 0: rank 1 has not come within {TIMEOUT} s, it is at trainer.py:"),
        ("frozen", f"rank 0: rank 1 has not come within {TIMEOUT} s, and does not answer"),
    ],
)
def test_all_end_and_name_the_rank(started: Started, fault: str, cause: str) -> None:
    process, folder = started[fault]
    assert process.wait(timeout=240) != 0
    began, ended = ((folder / name).stat().st_mtime for name in ("pid1", "said"))
    assert ended - began < TIMEOUT + 30  # from the step of the fault to torchrun's last word
    said = (folder / "said").read_text()
    assert f"semcentres: {cause}" in said
    assert fault != "hung" or ", ranks_worker.py:" in said  # where it sleeps
    assert not any(map(alive, pids(folder)))
    whole = RunFolder(folder / "run").newest_checkpoint(ABOUT)
    assert whole is not None
    assert whole[0] == 2


def test_ranks_without_torchrun_save_and_stop(started: Started) -> None:
    """It is killed and cannot tell them; what they saved is a step that both had done."""
    process, folder = started["stopped"]
    records = folder / "run" / "metrics.jsonl"
    wait_for(lambda: records.exists() and len(records.read_text().splitlines()) >= 3, process)
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(alive, pids(folder))))
    whole = RunFolder(folder / "run").newest_checkpoint(ABOUT)
    assert whole is not None
    assert whole[0] == RunFolder(folder / "run").records()[-1]["step"]


def test_a_process_that_is_done_is_not_the_cause(started: Started) -> None:
    """The first one works on when a signal comes; of the other, nothing is left but its word."""
    process, folder = started["alone"]
    wait_for(lambda: len(pids(folder)) == 2 and [*map(alive, pids(folder))].count(False), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    assert "semcentres: rank 0: stopped by SIGTERM; again: " in (folder / "said").read_text()
    assert not any(map(alive, pids(folder)))


def test_a_signal_stops_two_ranks_and_one_goes_on(tmp_path: Path) -> None:
    """By the command: the folder's lock, the end of a training, another number of processes."""
    words = [
        "-m", "semcentres", "train", "data=mnist_5k", "centres=one_hot", "encoder.width=4",
        "trainer.steps=60", "trainer.labelled_batch=9", "trainer.unlabelled_batch=7",
        "data.labels_per_class=10", "data.validation=50", "trainer.checkpoint_every=30",
        "trainer.log_every=1", "trainer.precision=32-true", "trainer.device=cpu",
    ]  # fmt: skip
    run = RunFolder(tmp_path / "two")
    command = [*TORCHRUN, *words, f"run_dir={run.path}"]
    process = subprocess.Popen(command, env=QUIET, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(run.records()) >= 3, process)
    assert [own_pages(pid, run.path / "centres.safetensors") for pid in children(process)] == [0, 0]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "rank 0: stopped by SIGTERM after step" in errors
    assert "rank 1: stopped" not in errors  # the first one says it for all
    stopped = run.records()[-1]["step"]
    assert [int(folder.name.removeprefix("step-")) for folder in run.steps()][-1] == stopped
    told = []
    for command in (
        [sys.executable, *words, f"run_dir={run.path}"],
        [*TORCHRUN, *words, f"run_dir={tmp_path / 'whole'}"],
    ):
        done = subprocess.run(command, env=QUIET, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told.append(done.stderr)
    assert f"at step {stopped}" in told[0]
    assert "resuming" in told[0]
    assert "resuming" not in told[1]
    both = [RunFolder(tmp_path / name).records() for name in ("two", "whole")]
    assert [record["step"] for record in both[0]] == [record["step"] for record in both[1]]
    for record, wanted in zip(*both, strict=True):
        for name in wanted.keys() - {"seconds"}:
            slack = 0.05 if "accuracy" in name else 1e-2
            assert record[name] == pytest.approx(wanted[name], rel=1e-2, abs=slack), name


def test_only_a_living_process_of_the_same_parent_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number may be another's by now, and a dead one's until its parent has asked for it."""
    assert not _is_sibling(str(os.getpid()))
    monkeypatch.setattr("os.getppid", os.getpid)  # so that a child is taken for a sibling
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert _is_sibling(str(child.pid))
        assert not _is_sibling("1")
        child.kill()
        wait_for(lambda: not alive(child.pid))
        assert not _is_sibling(str(child.pid))
    assert not _is_sibling(str(child.pid))


def pids(folder: Path) -> list[int]:
    return [int(path.read_text() or 0) for path in folder.glob("pid*")]


def children(process: subprocess.Popen[str]) -> list[int]:
    told = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for path in told for pid in path.read_text().split()]


def own_pages(pid: int, path: Path) -> int:
    """Return of how many kilobytes of a file that it has mapped a process holds a copy."""
    mappings = re.split(r"\n(?=[0-9a-f]+-)", Path(f"/proc/{pid}/smaps").read_text())
    (mapped,) = [text for text in mappings if text.splitlines()[0].endswith(str(path))]
    return int(re.search(r"\nAnonymous: +(\d+)", mapped)[1])


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(what, process: subprocess.Popen[str] | None = None) -> None:  # noqa: ANN001
    deadline = time.monotonic() + 240
    while not what():
        if process is not None:
            assert process.poll() is None, process.returncode
        assert time.monotonic() < deadline
        time.sleep(0.1)
