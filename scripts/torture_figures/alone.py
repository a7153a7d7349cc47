"""A figure in a process of its own: figures fork, fill the memory and leave connections open."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def alone(module: str, words: str) -> dict[str, Any]:
    """Return what `run` of a module of this package finds.

    Args:
        module: its name.
        words: arguments of `run`, as they are written.
    """
    code = f"import json; from torture_figures.{module} import run; print(json.dumps(run({words})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))
