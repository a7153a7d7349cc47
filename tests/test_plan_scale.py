"""The plan of tasks beyond this machine: its model against real runs and other arithmetic."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scale.model import (
    Workload,
    calls,
    memory_bytes,
    plan,
    search_bytes,
    search_seconds,
    sent_bytes,
    step_seconds,
)
from scale.runs import COLLECTIONS, EMPTY, TRAININGS
from scale.work import started

ROOT = Path(__file__).parents[1]
KNOWN: dict[str, Any] = json.loads((ROOT / "docs" / "plan_scale.json").read_text())
LOAD = Workload(images=1000, classes=30, dimension=32, encoder="resnet50", batch=240)


@pytest.fixture(scope="module")
def silent() -> dict[str, Any]:
    """What is known, were nothing that processes say to one another to take time."""
    free = {name: 0.0 for name in ("sum", "gather", "scatter", "call", "turn")}
    joint = {"joint both": KNOWN["resnet50"]["both"]}
    return KNOWN | {"resnet50": KNOWN["resnet50"] | joint, "between": free}


@pytest.mark.parametrize("shard", [False, True])
def test_a_real_step_sends_what_the_model_says(shard: bool) -> None:
    load = replace(TRAININGS[0], ranks=2, shard=shard, classes=3000)
    found = started("training", 2, load)
    wanted = sum(sent_bytes(load, KNOWN).values())
    assert [each["sent"] for each in found] == pytest.approx([wanted, wanted], rel=0.05)


def test_a_real_search_sends_what_the_model_says() -> None:
    load = replace(COLLECTIONS[0], ranks=2)
    found = started("collection", 2, load)
    assert found[0]["search sent"] == pytest.approx(search_bytes(load), rel=0.02)


def test_a_real_training_holds_what_the_model_says() -> None:
    """By what the encoder takes here: activations are half as large where bfloat16 is native."""
    load = TRAININGS[1]
    (encoder,) = started("encoder", 1, load)
    (alone,), (empty,) = started("training", 1, load), started("training", 1, EMPTY)
    wanted = sum(memory_bytes(load, KNOWN | {load.encoder: encoder}).values())
    assert alone["memory"] - empty["memory"] == pytest.approx(wanted, rel=0.3)


def around(ranks: int, turns: int, part: float) -> float:
    """What one of those in a ring sends when each passes a part on at every turn."""
    sent = [0.0] * ranks
    for _ in range(turns):
        for rank in range(ranks):
            sent[rank] += part
    return sent[0]


@pytest.mark.parametrize("ranks", [2, 3, 5, 64])
def test_messages_go_around_a_ring(ranks: int) -> None:
    bare = KNOWN["resnet50"] | {"norms": 0, "channels": 0}
    weights = 4 * (bare["weights"] + 32 * bare["weights a dimension"])
    rows = 4 * 2 * 240 * 32
    load = replace(LOAD, ranks=ranks)
    found = sent_bytes(load, KNOWN | {"resnet50": bare})
    # Each R-th of the sum has R - 1 turns to be made and as many to be told.
    assert found["sum"] == pytest.approx(around(ranks, 2 * (ranks - 1), weights / ranks))
    assert found["gather"] == pytest.approx(around(ranks, ranks - 1, rows / ranks))
    found = sent_bytes(replace(load, shard=True), KNOWN | {"resnet50": bare})
    three = around(ranks, 3 * (ranks - 1), weights / ranks)
    assert found["gather"] == pytest.approx(three + around(ranks, ranks - 1, rows / ranks))
    assert found["scatter"] == pytest.approx(around(ranks, 2 * (ranks - 1), weights / ranks))


def test_one_process_says_nothing() -> None:
    assert sum(sent_bytes(LOAD, KNOWN).values()) == search_bytes(LOAD) == calls(LOAD, KNOWN) == 0


def test_time_is_shared_where_nothing_is_said(silent: dict[str, Any]) -> None:
    three = replace(LOAD, ranks=3)
    kept = KNOWN["machine"]["step"] + KNOWN["resnet50"]["update"] * (
        KNOWN["resnet50"]["weights"] + 32 * KNOWN["resnet50"]["weights a dimension"]
    )
    loss = step_seconds(replace(LOAD, classes=60), silent) - step_seconds(LOAD, silent)
    own = step_seconds(LOAD, silent) - kept - loss
    assert own > 0
    assert step_seconds(three, silent) == pytest.approx(own / 3 + loss + kept)
    assert search_seconds(three, silent) == pytest.approx(search_seconds(LOAD, silent) / 3)
    assert step_seconds(three, KNOWN) > step_seconds(three, silent)


def test_files_are_decoded_once_by_the_threads_of_a_machine() -> None:
    assert step_seconds(replace(LOAD, mapped=False), KNOWN) == step_seconds(LOAD, KNOWN)
    one, eight = (plan(replace(LOAD, ranks=ranks, machines=2), KNOWN) for ranks in (2, 16))
    name = "decoding before the first step, seconds"
    assert one[name] == 1000 * KNOWN["resnet50"]["decode"] == pytest.approx(8 * eight[name])
    # A byte a colour of each pixel, on every machine; once more through the encoder at the end.
    name = "decoded images, bytes of disk a machine"
    assert one[name] == eight[name] == 1000 * 3 * 224 * 224
    name = "embedding to assess after the last step, seconds"
    assert one[name] == pytest.approx(1000 * KNOWN["resnet50"]["forward"] / 2)
    assert eight[name] == pytest.approx(one[name] / 8)
    # Of a file its path is known, many times; of an image in memory its pixels.
    listed = memory_bytes(LOAD, KNOWN)["images"]
    assert 1000 * 200 < listed < memory_bytes(replace(LOAD, mapped=False), KNOWN)["images"]


def test_many_centres_are_shared(silent: dict[str, Any]) -> None:
    few, many = replace(LOAD, ranks=5, classes=600), replace(LOAD, ranks=5, classes=3000)
    assert step_seconds(many, silent) == pytest.approx(step_seconds(few, silent))


def test_weights_are_shared() -> None:
    of = KNOWN["resnet50"]
    alone = memory_bytes(replace(LOAD, shard=True), KNOWN)["weights and their like"]
    assert alone == memory_bytes(LOAD, KNOWN)["weights and their like"]
    two, many = (
        memory_bytes(replace(LOAD, ranks=ranks, shard=True), KNOWN)["weights and their like"]
        for ranks in (2, 10**9)
    )
    whole = of["weights"] + 32 * of["weights a dimension"]
    # What each holds of weights, gradients and moments: half of it, and next to nothing.
    assert two - many == pytest.approx(16 * whole / 2, rel=1e-6)
    assert many == pytest.approx(4 * whole + 8 * of["largest part"], rel=1e-6)


def test_documents_hold_what_is_printed() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "plan_scale.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tables = [block for block in printed.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    told = (ROOT / "docs" / "many_machines.md").read_text()
    assert all(table.strip() in told for table in tables)
    told = (ROOT / "README.md").read_text()
    assert all(table.strip() in told for table in tables[1:])
    bad = subprocess.run([*command, "--ranks", "7"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "7 ranks on 8 machines" in bad.stderr


def test_a_task_of_the_readers_own_sizes_is_planned() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "plan_scale.py"), "--images", "700000"]
    words = [*command, "--classes", "3000", "--dimension", "96"]
    printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    head, _, *lines = printed.strip().split("\n\n")[-1].splitlines()
    assert "700,000 images, 3,000 classes" in head
    assert "ImageNet" not in head
    # 4 bytes a number of the centres, and of all embeddings.
    assert any(line.startswith("| bank,") and "1.1 MiB" in line for line in lines)
    assert any(line.startswith("| embeddings, bytes") and "256.3 MiB" in line for line in lines)
    assert "96 dimensions" in printed
    for wrong, said in ((command, "give both"), ([*words, "--images", "0"], "1 or more")):
        bad = subprocess.run(wrong, capture_output=True, text=True, check=False)
        assert bad.returncode == 2
        assert said in bad.stderr
