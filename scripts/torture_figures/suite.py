"""Tests of the suite, run by figures of which a part is tested and not measured."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
RIGHT = "right"
TOLD = 300  # characters of what was wrong


def ended(*names: str, **more: str) -> dict[str, str]:
    """Return how tests ended: that they were right, or what was wrong, each with its seconds.

    A test that was left out is wrong too: it has shown nothing.

    Args:
        names: files below tests/, or tests in them.
        more: variables of the environment.
    """
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "junit.xml"
        paths = [f"tests/{name}" for name in names]
        words = [sys.executable, "-m", "pytest", "-q", *paths, f"--junitxml={out}"]
        env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | more
        subprocess.run(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, check=False)
        if not out.is_file():  # as where a test takes too long
            return {"pytest": "wrong: it left no results"}
        cases = list(ElementTree.parse(out).iter("testcase"))  # noqa: S314  # pytest wrote it
    return {_name(case): _end(case) for case in cases} or {"pytest": "wrong: no test"}


def wrong(found: dict[str, str]) -> list[str]:
    """Return which tests did not end well."""
    return [name for name, end in found.items() if not end.startswith(RIGHT)]


def _name(case: ElementTree.Element) -> str:
    # With its file: another's of the same name must not take its place.
    return f"{case.attrib['classname'].rpartition('.')[2]}::{case.attrib['name']}"


def _end(case: ElementTree.Element) -> str:
    seconds = f"{float(case.attrib['time']):.0f} s"
    for fault in case:
        said = " ".join(fault.get("message", "").split())
        return f"wrong, {seconds}: {fault.tag}: {said[:TOLD]}"
    return f"{RIGHT}, {seconds}"
