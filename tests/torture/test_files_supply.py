"""What is pinned is pinned exactly, and is none of the versions that SECURITY.md warns of.

This needs no network. What became known later, pip-audit asks OSV about: R19 of scripts/torture.py.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
# The last version with the fault, or all of them.
FAULTY = {
    "torch": ("2.9.1", "CVE-2025-32434, CVE-2026-24747: a file runs code, or corrupts memory"),
    "transformers": ("5.2.0", "CVE-2026-4372: a config.json runs code"),
    "sentence-transformers": ("5.9.9", "a local folder's modules.json runs code"),
    "hydra-core": ("1.3.7", "an override's target is called without a look at it"),
    "starlette": ("1.0.9", "CVE-2026-48818: files outside of the folder that is served"),
}
STOLEN = ("2.6.2", "2.6.3")  # lightning, released by somebody who had taken its account


def pinned() -> dict[str, Requirement]:
    lines = (ROOT / "scripts" / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {one.name.lower().replace("_", "-"): one for one in found}


def asked() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(line) for lines in (project["dependencies"], *extras) for line in lines]


def test_every_version_is_pinned_exactly() -> None:
    loose = [str(one) for one in pinned().values() if [s.operator for s in one.specifier] != ["=="]]
    assert not loose
    assert len(pinned()) > 100
    lacking = {one.name for one in asked() if one.name != "semcentres"} - pinned().keys()
    # Of another platform; needs an older cloudpickle than the others.
    assert lacking == {"faiss-cpu", "hydra-ray-launcher"}


def test_no_faulty_version_is_pinned_or_allowed() -> None:
    versions = {name: Version(next(iter(one.specifier)).version) for name, one in pinned().items()}
    for name, (last, what) in FAULTY.items():
        assert versions[name] > Version(last), f"{name}: {what}"
    for one in asked():
        if one.name in FAULTY:
            last, what = FAULTY[one.name]
            assert not one.specifier.contains(last), f"{one}: {what}"
        if "lightning" in one.name:
            assert not any(map(one.specifier.contains, STOLEN)), one
    assert not {"python-multipart", "gradio", "streamlit"} & versions.keys()
