"""R19: known vulnerabilities of what we depend on, and calls that we forbid ourselves.

Trials and seed change nothing. Needs pip-audit, of the extra torture, and OSV's service; where
one cannot be had the figure is missed, and says so.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torture_figures.forbidden_calls import forbidden

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "scripts" / "constraints.txt"
GOAL = "0 known vulnerabilities in scripts/constraints.txt, 0 forbidden calls"
FAULTY = "jinja2==2.4.1\n"  # of 2010
PLANTED = "import pickle\nimport torch\ntorch.load('x')\npickle.load(open('x', 'rb'))\n"


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return what pip-audit and the search for calls find."""
    calls = forbidden(ROOT, "semcentres", "centre_builders")
    with TemporaryDirectory() as folder:
        Path(folder, "naive").mkdir()
        Path(folder, "naive", "load.py").write_text(PLANTED)
        Path(folder, "faulty.txt").write_text(FAULTY)
        naive = {
            "vulnerabilities": vulnerabilities(Path(folder, "faulty.txt")),
            "forbidden calls": forbidden(Path(folder), "naive"),
        }
    known = vulnerabilities(LOCK)
    measured = {"vulnerabilities": known, "forbidden calls": calls}
    # A list: why it cannot be told is a text.
    told = isinstance(naive["vulnerabilities"], list) and len(naive["vulnerabilities"]) > 0
    passed = known == [] and not calls and told and len(naive["forbidden calls"]) == 3
    return {"goal": GOAL, "measured": measured, "naive": naive, "passed": passed}


def vulnerabilities(pins: Path) -> list[str] | str:
    """Return what is known of pinned versions, or why that cannot be told."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(pins), "--no-deps", "--disable-pip",
        "--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return f"not told: {reason[:300]}"
    skipped = [one["name"] for one in found if "skip_reason" in one]
    if skipped:
        return f"not told of {', '.join(skipped[:10])}"
    return [
        f"{one['name']} {one['version']}: {fault['id']}" for one in found for fault in one["vulns"]
    ]
