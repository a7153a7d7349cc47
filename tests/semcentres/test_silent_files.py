"""Tests of files that never answer: the work ends, in time, and says which file it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torture_figures.silent_file import silent, wait_until_asked

from centre_builders.errors import DiskError, UsageError
from semcentres.data.decoded import decoded
from semcentres.data.readable import read_images
from semcentres.data.readers import VARIABLE
from semcentres.data.stored import StoredImages

READERS: dict[str, Callable[[list[Path]], object]] = {
    "memory": lambda paths: decoded(paths, size=4, channels=3),
    "in turn": lambda paths: list(read_images(paths, size=4, channels=3, batch=3)),
    "streamed": lambda paths: list(StoredImages(paths, 4).batches(torch.arange(12).split(5))),
}


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Twelve images of two classes, a folder each."""
    found, rng = [], np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        found.append(path)
    return found


@pytest.mark.parametrize("reader", READERS)
def test_file_that_does_not_answer_is_named(
    paths: list[Path], reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "1.5")
    began = time.monotonic()
    with silent(paths[7]), pytest.raises(DiskError) as caught:
        READERS[reader](paths)
    assert time.monotonic() - began < 10
    assert str(caught.value).startswith(f"{paths[7]}: no answer within 1.5 s of reading; ")


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf"])
def test_refuses_a_time_that_is_none(
    paths: list[Path], given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(UsageError, match=f"{VARIABLE}='{given}' .* seconds above 0"):
        decoded(paths, size=4, channels=3)


def start(paths: list[Path], seconds: str) -> "subprocess.Popen[str]":
    words = ["train", "data=folder", f"data.root={paths[0].parents[1]}", "centres=one_hot"]
    run_dir = f"run_dir={paths[0].parents[2] / 'run'}"
    return subprocess.Popen(
        [sys.executable, "-m", "semcentres", *words, run_dir],
        env=os.environ | {VARIABLE: seconds}, stderr=subprocess.PIPE, text=True,
        # A shell's background jobs, of which this may be one, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def test_command_ends_and_names_the_file(paths: list[Path]) -> None:
    with silent(paths[7]):
        process = start(paths, "2")
        _, said = process.communicate(timeout=40)
    assert process.returncode == 5
    assert f"semcentres: {paths[7]}: no answer within 2 s" in said.splitlines()[-1]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_is_stopped_while_a_file_does_not_answer(
    paths: list[Path], signum: signal.Signals, code: int
) -> None:
    with silent(paths[7]):
        process = start(paths, "600")
        wait_until_asked()
        began = time.monotonic()
        process.send_signal(signum)
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - began < 5
    assert process.returncode == code
    assert f"semcentres: stopped by {signum.name}; again: semcentres train data=folder" in said
