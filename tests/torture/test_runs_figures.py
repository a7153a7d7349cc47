"""The short version of each figure of a run that cannot be lost; scripts/torture.py runs the long.

Every figure also attacks the naive way and passes only if that is seen to fail.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).parents[2] / "scripts" / "torture.py"
COMPILED = {"R2", "R3", "R9", "R10"}  # they put themselves between the process and its disk


@pytest.mark.parametrize("name", ["R1", "R2", "R3", "R4", "R9", "R10", "R11", "R12"])
def test_figure(tmp_path: Path, name: str) -> None:
    if name in COMPILED and (shutil.which("gcc") is None or sys.platform != "linux"):
        pytest.skip("it needs gcc and Linux")
    out = tmp_path / "torture.json"
    words = [sys.executable, str(TORTURE), name, "--short", "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = json.loads(out.read_text())["figures"][name]
    assert found["passed"], (found, done.stderr[-2000:])
    assert done.returncode == 0
