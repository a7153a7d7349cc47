"""The short versions of the figures of files; scripts/torture.py runs the long ones.

In processes of their own: they fork, which a process with threads must not.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from torture_figures import r8_neighbours

SCRIPTS = Path(__file__).parents[2] / "scripts"


def measured(module: str, words: str) -> dict[str, Any]:
    code = f"import json; from torture_figures.{module} import run; print(json.dumps(run({words})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_changed_artefacts_are_refused_or_as_before() -> None:
    found = measured("r5_artefacts", "100, 0")
    assert found["passed"], found


def test_no_payload_runs() -> None:
    # 29 is prime to all lengths, so that every loader, verb and payload has its turn.
    found = measured("r6_payloads", "1, 0, step=29")
    assert found["passed"], found


def test_neighbours_keep_their_contract() -> None:
    found = r8_neighbours.run(60, 0)
    assert found["passed"], found
