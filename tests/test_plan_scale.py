"""The plan of tasks beyond this machine: laws of its model, and the committed constants."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from scale.model import Workload, plan, step_seconds

ROOT = Path(__file__).parents[1]
KNOWN = {
    "enc": {
        "weights": 1000, "pixels": 10, "view": 1.0, "forward": 2.0, "both": 5.0,
        "activations": 100.0, "update": 0.001, "decode": 3.0,
    },
    "machine": {"softmin": 1e-4, "search": 1e-6, "write": 1e-3},
    "between": {
        "call": 0.5, "reduce": 0.01, "gather": 0.02,
        "joint": {"enc": {"image": 6.0, "pass": 7.0}},
    },
}  # fmt: skip
LOAD = Workload(images=1000, classes=30, dimension=4, encoder="enc", batch=10, views=2)


def test_step_by_one_process_is_the_sum_of_its_parts() -> None:
    parts = 10 * 3.0 + 20 * (1.0 + 5.0) + 20 * 4 * 30 * 1e-4 + 1000 * 0.001
    assert step_seconds(LOAD, KNOWN) == pytest.approx(parts)
    assert step_seconds(replace(LOAD, mapped=False), KNOWN) == pytest.approx(parts - 30)


def test_step_by_five_shares_images_and_pays_for_what_is_said() -> None:
    own = 2 * 3.0 + 4 * 1.0 + (7.0 + 4 * 6.0) + 20 * 4 * 30 * 1e-4 + 1.0
    said = 4 * 0.5 + 4 * 1000 * 0.01 + 4 * 20 * 4 / 5 * 0.02
    assert step_seconds(replace(LOAD, ranks=5), KNOWN) == pytest.approx(own + said)


def test_many_centres_are_shared() -> None:
    many = replace(LOAD, classes=3000, ranks=5)
    few = replace(many, classes=600)
    loss = 20 * 4 * (3000 // 5 - 600) * 1e-4  # 600 are below the number from which they are
    assert step_seconds(many, KNOWN) - step_seconds(few, KNOWN) == pytest.approx(loss, abs=1e-9)


def test_needs_of_memory_and_traffic() -> None:
    one = plan(replace(LOAD, mapped=False), KNOWN)
    assert one["images, bytes a process"] == 10_000
    assert one["bank, bytes a machine"] == 4 * 30 * 4
    assert one["weights and their like, bytes a process"] == 20_000
    assert one["activations, bytes a process"] == 2000
    assert one["traffic, bytes a process and step"] == one["search, traffic in bytes"] == 0
    five = plan(replace(LOAD, ranks=5, machines=5, queries=7), KNOWN)
    assert five["images, bytes a process"] == 0
    assert five["activations, bytes a process"] == 400
    assert five["exact index, bytes a machine"] == 4 * 1000 * 4 / 5
    # Not of the number of images: of the queries, and of 20 neighbours of each.
    assert five["search, traffic in bytes"] == 7 * 5 * (16 + 240)


def test_committed_constants_give_the_plan(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    words = [sys.executable, str(ROOT / "scripts" / "plan_scale.py"), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "1 B images" in done.stdout
    found = json.loads(out.read_text())
    assert found["ImageNet-21k"]["needs"]["embeddings, bytes of disk"] == 14_200_000 * 256 * 4
    bad = subprocess.run([*words, "--ranks", "7"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "7 ranks on 8 machines" in bad.stderr
