"""Training by two processes: it gives what one gives, and is resumed to the bit."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from centre_builders.bank import CentreBank
from centre_builders.errors import CorruptArtefact
from semcentres.ranks import Ranks

WORKER = Path(__file__).parent / "ranks_worker.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TWO = ("first", "second")
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process, and each of two, came to."""
    folder = tmp_path_factory.mktemp("ranks")
    words = [str(WORKER), "mathematics", str(folder)]
    for command in ([sys.executable, *words], [*TORCHRUN, *words]):
        done = subprocess.run(command, env=QUIET, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    names = {"one": "found1.0", "first": "found2.0", "second": "found2.1"}
    return {who: torch.load(folder / name) for who, name in names.items()}


@pytest.mark.parametrize("weights", ["", ", shared"])
@pytest.mark.parametrize("name", ["energy", "clusters", "head"])
def test_two_ranks_train_as_one(found: dict[str, Any], name: str, weights: str) -> None:
    """With a teacher, batch norm, erased and noisy views, clusters, a head, unequal shares."""
    one, first, second = found["one"][name], *(found[who][name + weights] for who in TWO)
    for key, wanted in one["weights"].items():
        # AdamW divides by the gradient's size, which lets rounding grow where that is near 0.
        torch.testing.assert_close(first["weights"][key], wanted, rtol=2e-3, atol=2e-4, msg=key)
        assert torch.equal(first["weights"][key], second["weights"][key]), key
    assert len(first["records"]) == len(one["records"]) >= 6
    for record, wanted in zip(first["records"], one["records"], strict=True):
        lists = {name for name, value in wanted.items() if isinstance(value, list)}
        assert {name: record[name] for name in lists} == {name: wanted[name] for name in lists}
        numbers = {name: value for name, value in wanted.items() if name not in lists}
        assert {name: record[name] for name in numbers} == pytest.approx(
            numbers, rel=1e-3, abs=1e-5
        )


@pytest.mark.parametrize("name", ["energy", "clusters"])
def test_two_ranks_go_on_from_what_one_saved(found: dict[str, Any], name: str) -> None:
    for who in TWO:
        for key, wanted in found["one"][name]["weights"].items():
            got = found[who]["from one"][name][key]
            torch.testing.assert_close(got, wanted, rtol=2e-3, atol=2e-4, msg=key)


def test_gradients_are_those_of_one(found: dict[str, Any]) -> None:
    for who in ("first", "second"):
        assert len(found[who]["gradients"]) == 14
        torch.testing.assert_close(
            found[who]["gradients"], found["one"]["gradients"], rtol=1e-3, atol=1e-6
        )


def test_the_soft_min_over_shards_is_that_over_all(found: dict[str, Any]) -> None:
    for who in ("first", "second"):
        torch.testing.assert_close(found[who]["softmin"], found["one"]["softmin"])


def test_images_are_embedded_together_to_the_bit(found: dict[str, Any]) -> None:
    """Three batches for two ranks, and one: each row once, in its place."""
    for who in ("first", "second"):
        for name, shape in (("rows", (2600, 6)), ("few", (3, 6))):
            rows = found[who]["embedded"][name]
            assert rows.shape == shape
            assert torch.equal(rows, found["one"]["embedded"][name])
    assert torch.equal(found["first"]["of the first"], found["one"]["of the first"])
    assert len(found["one"]["of the first"]) == 2500
    assert len(found["second"]["of the first"]) == 0


@pytest.mark.parametrize("weights", ["", ", shared"])
def test_resumed_run_of_two_ranks_ends_bitwise_equal(found: dict[str, Any], weights: str) -> None:
    """With dropout and a teacher, killed between two checkpoints."""
    for who in TWO:
        for key, wanted in found["first"][f"whole{weights}"].items():
            assert torch.equal(found[who][f"resumed{weights}"][key], wanted), key


def test_shared_weights_are_halved_and_whole_in_checkpoints(found: dict[str, Any]) -> None:
    """A run with shared weights goes on without, and the other way round."""
    assert sum(found[who]["held"] for who in TWO) == found["first"]["all"]
    assert all(found[who]["held"] < 0.7 * found["first"]["all"] for who in TWO)
    for who in TWO:
        for key, wanted in found["first"]["whole"].items():
            for then in ("then alone", "then shared"):
                torch.testing.assert_close(
                    found[who][then][key], wanted, rtol=2e-3, atol=2e-4, msg=f"{then}: {key}"
                )


def test_ranks_with_other_data_are_refused(found: dict[str, Any]) -> None:
    for who in ("first", "second"):
        assert "rank 0: {'bank': 'b', 'data': 'd0'}; rank 1: " in found[who]["uneven"]
        assert "too small for 2 processes" in found[who]["small"]


@pytest.mark.parametrize(("num", "count"), [(7, 3), (2, 3), (0, 2), (8, 1)])
def test_shares_are_whole_and_near_equal(num: int, count: int) -> None:
    shares = [Ranks(rank, count).share(num) for rank in range(count)]
    rows = [row for share in shares for row in range(num)[share.rows]]
    assert rows == list(range(num))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_mapped_bank_shares_its_pages_and_keeps_its_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((4096, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = tuple(f"class {n}" for n in range(len(rows)))
    path = tmp_path / "bank.safetensors"
    CentreBank(names, rows, {"texts": {}}).save(path)
    before = path.read_bytes()
    bank = CentreBank.load(path, mapped=True)
    assert np.array_equal(bank.vectors, rows)
    assert _kilobytes(path, "Rss") >= rows.nbytes // 1024
    assert _kilobytes(path, "Anonymous") == 0  # no copy of this process's own
    assert bank.fingerprint == CentreBank.load(path).fingerprint
    torch.from_numpy(bank.vectors)[0] = 0
    assert path.read_bytes() == before
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(CorruptArtefact):
        CentreBank.load(path, mapped=True)


def _kilobytes(path: Path, key: str) -> int:
    """Return what the system says of this process's mappings of a file."""
    total, here = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            here = line.endswith(str(path))
        elif here and name == f"{key}:":
            total += int(rest[0])
    return total
