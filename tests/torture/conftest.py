"""Figures of scripts/torture.py in their short form, each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TORTURE = Path(__file__).parents[2] / "scripts" / "torture.py"
Figure = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="session")
def figure(tmp_path_factory: pytest.TempPathFactory) -> Figure:
    """Run a figure by its name, and return its line of the scoreboard."""

    def measured(name: str) -> dict[str, Any]:
        out = tmp_path_factory.mktemp(name) / "torture.json"
        words = [sys.executable, str(TORTURE), name, "--short", "--out", str(out)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        said = (done.stderr + out.with_suffix(".log").read_text())[-2000:]
        found: dict[str, Any] = json.loads(out.read_text())["figures"][name]
        assert done.returncode == int(not found["passed"]), said
        return found | {"said": said}

    return measured
