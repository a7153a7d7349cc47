"""R16: a coverage-guided fuzzer on what reads manifests, banks and embeddings.

One trial is one second of it. Needs atheris, of the extras test and torture (it has wheels
for Linux on x86_64 alone); without it the figure is missed.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
GOAL = (
    "atheris on the readers of manifests, banks and embeddings: 0 uncaught, all come behind seals"
)
NAIVE_SECONDS = 5
HOW = ("accepted", "refused", "refused by its seal")
KINDS = ("folder/MANIFEST.json", "embeddings.json", "part-00000.done", "bank.safetensors")


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return what a fuzzer finds in so many seconds, of our readers and of a naive one."""
    if find_spec("atheris") is None:
        told = "atheris is not installed: pip install 'semcentres[torture]'"
        return {"goal": GOAL, "measured": told, "naive": None, "passed": False}
    measured, naive = _fuzz("ours", trials, seed), _fuzz("naive", NAIVE_SECONDS, seed)
    # What never came behind the seal, or was never read whole, was not fuzzed.
    shallow = [
        f"{kind}: {how}"
        for kind in KINDS
        for how in HOW
        if not measured["inputs"].get(f"{kind}: {how}")
    ]
    if shallow:
        measured["never"] = shallow
    toothed = naive["uncaught"] > 0 and naive["inputs"].get("naive: accepted", 0) > 0
    passed = measured["uncaught"] == 0 and not shallow and toothed
    return {"goal": GOAL, "measured": measured, "naive": naive, "passed": passed}


def _fuzz(target: str, seconds: int, seed: int) -> dict[str, Any]:
    # libFuzzer takes the seed 0 for none; -rss_limit_mb counts what was imported too.
    limits = [f"-max_total_time={seconds}", f"-seed={seed + 1}", "-rss_limit_mb=4096"]
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with TemporaryDirectory(prefix="torture-", dir=memory) as folder:  # a crash is kept there too
        words = [str(HERE / "fuzz_readers.py"), target, folder, *limits, "-timeout=10"]
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, check=False, cwd=folder,
            env=os.environ | {"PYTHONPATH": str(HERE.parent)},
        )  # fmt: skip
        counts = Path(folder, "counts.json")
        inputs = json.loads(counts.read_text()) if counts.exists() else {}
    lines = [line for line in done.stderr.splitlines() if "Error" in line or "ERROR" in line]
    return {
        "seconds": seconds,
        "inputs": inputs,
        "uncaught": int(done.returncode != 0),
        **({"fault": lines[:3] or done.stderr[-500:]} if done.returncode else {}),
    }
