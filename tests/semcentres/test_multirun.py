"""Several runs by one command, `-m`: how they end when one is stopped or cannot go on."""

import shlex
import signal
import subprocess
import sys
import time
from copy import copy
from pathlib import Path

import pytest

from centre_builders.errors import NoSpace
from semcentres.checkpoint import RunFolder
from semcentres.cli import main
from semcentres.interrupt import Stopped

SWEEP = Path(__file__).parents[2] / "scripts" / "sweep.py"
WORDS = [
    "-m", "data=mnist_5k", "centres=one_hot", "encoder.width=4", "trainer.steps=100000", "seed=0,1",
    "trainer.labelled_batch=8", "trainer.unlabelled_batch=0", "trainer.log_every=1",
    "trainer.device=cpu",
]  # fmt: skip


@pytest.mark.parametrize("command", [["-m", "semcentres", "train"], [str(SWEEP)]])
def test_signal_ends_the_sweep_and_not_only_its_job(tmp_path: Path, command: list[str]) -> None:
    words = [*WORDS, f"run_dir={tmp_path}/${{seed}}"]
    with subprocess.Popen(
        [sys.executable, *command, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        run = RunFolder(tmp_path / "0")
        while not run.records_file.exists() or len(run.records()) < 3:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    told = f"stopped by SIGTERM after step {run.records()[-1]['step']}, saved; "
    again = shlex.join(["semcentres", "train", *words])
    told += f"go on with: {again}" if "semcentres" in command else "the same words go on"
    assert errors.splitlines()[-1].endswith(told)
    assert len(run.steps()) == 1
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("error", [Stopped(signal.SIGTERM, 7), NoSpace("a is full", 9)])
def test_what_ends_a_job_can_be_sent_to_its_launcher(error: Exception) -> None:
    again = copy(error)  # made as what is pickled is
    assert (str(again), vars(again)) == (str(error), vars(error))


def test_bad_input_of_a_job_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "-m", f"run_dir={tmp_path}/a,{tmp_path}/b"]) == 3
    assert f"{tmp_path}/a" in capsys.readouterr().err.splitlines()[-1]
    assert not any(tmp_path.iterdir())
