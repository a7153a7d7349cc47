"""The short versions of the figures of files; scripts/torture.py runs the long ones."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("name", ["R5", "R6", "R8"])
def test_figure(figure: Callable[[str], dict[str, Any]], name: str) -> None:
    found = figure(name)
    assert found["passed"], found
