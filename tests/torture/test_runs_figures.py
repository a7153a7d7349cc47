"""The short version of each figure of a run that cannot be lost; scripts/torture.py runs the long.

Every figure also attacks the naive way and passes only if that is seen to fail.
"""

import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

COMPILED = {"R2", "R3", "R9", "R10"}  # they put themselves between the process and its disk


@pytest.mark.parametrize("name", ["R1", "R2", "R3", "R4", "R9", "R10", "R11", "R12"])
def test_figure(figure: Callable[[str], dict[str, Any]], name: str) -> None:
    if name in COMPILED and (shutil.which("gcc") is None or sys.platform != "linux"):
        pytest.skip("it needs gcc and Linux")
    found = figure(name)
    assert found["passed"], found
