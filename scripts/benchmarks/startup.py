"""How long the command takes to answer, and a training to its first step."""

import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from benchmarks.timing import Mark, Report, race

HELP, TRAIN, TORCH = "semcentres --help", "semcentres train, to its first step", "import torch"
COMMAND = (sys.executable, "-m", "semcentres")


def measure() -> Report:
    """Return seconds of each, as processes of their own with warm files."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bank = place / "bank.safetensors"
        run("centres", "centres=word2vec", "data=fashion_mnist", f"out={bank}")
        number = count()
        seconds = race(
            {
                HELP: lambda: run("--help"),
                TRAIN: lambda: first_step(bank, place / str(next(number))),
                TORCH: lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True),
            }
        )
    return Report(
        "Start-up, from the start of the process",
        values={"files in the page cache": seconds},
        marks=[Mark(HELP, seconds[HELP], 0.5), Mark(TRAIN, seconds[TRAIN], 8)],
        notes=[
            "The training is of Fashion-MNIST with a built bank; its first step is done when it is"
            " in metrics.jsonl. Python with torch alone needs the last figure."
        ],
    )


def run(*words: str) -> None:
    """Run the command to its end."""
    subprocess.run([*COMMAND, *words], check=True, capture_output=True)


def first_step(bank: Path, run_dir: Path) -> None:
    """Begin a training, and stop it when its first step is recorded."""
    words = ("centres=bank", f"centres.bank={bank}", "data=fashion_mnist", "trainer.log_every=1")
    command = [*COMMAND, "train", *words, f"run_dir={run_dir}"]
    log = run_dir / "metrics.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as training:
        while not (log.exists() and log.read_bytes().endswith(b"\n")):
            if training.poll() is not None:
                assert training.stderr is not None
                raise RuntimeError(training.stderr.read().decode())
            time.sleep(0.01)
        training.kill()
