"""The short versions of the figures of files; scripts/torture.py runs the long ones."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest


@pytest.mark.parametrize("name", ["R5", "R6", "R8", "R16"])
def test_figure(figure: Callable[[str], dict[str, Any]], name: str) -> None:
    if name == "R16" and find_spec("atheris") is None:
        pytest.skip("atheris has wheels for Linux on x86_64 alone")
    found = figure(name)
    assert found["passed"], found
