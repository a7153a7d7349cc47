"""R16: a coverage-guided fuzzer on what reads manifests, banks and embeddings.

One trial is one second of it. Needs atheris, of the extra torture (it has wheels for Linux
alone); without it the figure is missed.
"""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
GOAL = "atheris on the readers of manifests, banks and embeddings: 0 uncaught"
NAIVE_SECONDS = 5


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return what a fuzzer finds in so many seconds, of our readers and of a naive one."""
    if find_spec("atheris") is None:
        told = "atheris is not installed: pip install 'semcentres[torture]'"
        return {"goal": GOAL, "measured": told, "naive": None, "passed": False}
    measured, naive = _fuzz("ours", trials, seed), _fuzz("naive", NAIVE_SECONDS, seed)
    passed = measured["uncaught"] == 0 and measured["runs"] > 0 and naive["uncaught"] > 0
    return {"goal": GOAL, "measured": measured, "naive": naive, "passed": passed}


def _fuzz(target: str, seconds: int, seed: int) -> dict[str, Any]:
    # libFuzzer takes the seed 0 for none; -rss_limit_mb counts what was imported too.
    limits = [f"-max_total_time={seconds}", f"-seed={seed + 1}", "-rss_limit_mb=4096"]
    command = [sys.executable, str(HERE / "fuzz_readers.py"), target, *limits, "-timeout=10"]
    with TemporaryDirectory(prefix="torture-") as folder:  # where a crash is kept
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    runs = re.findall(r"^#(\d+)\s", done.stderr, re.MULTILINE)
    finished = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    lines = [line for line in done.stderr.splitlines() if "Error" in line or "ERROR" in line]
    return {
        "seconds": seconds,
        "runs": int(finished[1] if finished else (runs or ["0"])[-1]),
        "uncaught": int(done.returncode != 0),
        **({"fault": lines[:3] or done.stderr[-500:]} if done.returncode else {}),
    }
