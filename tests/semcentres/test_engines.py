"""Embedding by this process, by those of torchrun and by actors of Ray: the same files."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from centre_builders import OneHot, build_bank
from centre_builders.embedded import read_embedded
from centre_builders.errors import InputError, UsageError
from semcentres.cli import main
from semcentres.engines import _units
from semcentres.hardware import own_device
from semcentres.settings import EmbedConfig
from semcentres.sharding import Job, _Start
from semcentres.weights import make_encoder, save_model

WORKER = str(Path(__file__).parent / "engines_worker.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
NUM = 23

Faulty = dict[str, tuple[subprocess.Popen[bytes], Path]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, files of which one is no image, and their embeddings by a single process."""
    place = tmp_path_factory.mktemp("engines")
    bank = build_bank(OneHot(), ["cat", "dog", "zebra"])
    bank.save(place / "run" / "centres.safetensors")
    component = {"_target_": "semcentres.encoder.small_conv", "_partial_": True, "width": 4}
    torch.manual_seed(0)
    encoder = make_encoder(component, channels=1, bank=bank)
    shape = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    save_model(place / "run", encoder, component=component, bank=bank, images=shape, data="none")
    pixels = np.random.default_rng(0).integers(256, size=(NUM, 28, 28)).astype(np.uint8)
    for number in range(NUM):
        folder = place / "images" / ("dog" if number < 9 else "various")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(folder / f"{number:02d}.png")
    (place / "images" / "various" / "13.png").write_bytes(b"none")
    assert main(words(place, "local")) == 3
    return place


def words(place: Path, out: str) -> list[str]:
    """Return the words of `embed` of all files, into five parts."""
    paths = [f"run_dir={place / 'run'}", f"images={place / 'images'}", f"out={place / out}"]
    return ["embed", *paths, "part_rows=5"]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=QUIET, capture_output=True, text=True, timeout=540
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_torchrun_writes_the_same_bytes_though_a_process_is_killed(place: Path) -> None:
    done = run([*TORCHRUN, WORKER, "torchrun", str(place), *words(place, "torchrun")])
    assert "1 of 23 images cannot be read" in done.stderr, done.stderr
    assert contents(place / "torchrun") == contents(place / "local")
    # Each rank its own parts; the one that was killed is done again.
    assert set((place / "rank0").read_text().split()) == {"0", "2", "4"}
    assert (place / "rank1").read_text().split() == ["1", "1", "3"]


def test_two_machines_begin_again_when_a_process_of_one_is_killed(
    place: Path, tmp_path: Path
) -> None:
    """Only the torchrun of that one counts a restart."""
    wanted, found = tmp_path / "local", tmp_path / "torchrun"
    images = [f"images={place / 'images' / 'dog'}", "part_rows=2"]
    assert main([*words(place, ""), *images, f"out={wanted}"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        end = f"127.0.0.1:{free.getsockname()[1]}"
    torchrun = [*TORCHRUN[:2], "--nnodes=2", "--local-addr=127.0.0.1", "--max-restarts=2"]
    torchrun += ["--rdzv-backend=c10d", f"--rdzv-endpoint={end}"]
    worker = [WORKER, "connected", str(tmp_path), *words(place, ""), *images, f"out={found}"]
    command = [sys.executable, *torchrun, *worker]
    machines = [subprocess.Popen(command, env=QUIET) for _ in range(2)]
    try:
        assert [machine.wait(timeout=240) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            machine.terminate()
            machine.wait()
    assert (tmp_path / "rank1").read_text().split() == ["1", "1", "3"]
    assert contents(found) == contents(wanted)


@pytest.fixture(scope="module")
def faulty(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """Two processes each, all at once since they mostly wait: none has a fault, or one has."""
    found = {}
    for fault in ("slow", "hung", "frozen"):
        folder = tmp_path_factory.mktemp(fault)
        command = [sys.executable, *TORCHRUN[:-1], WORKER, fault, str(folder), *words(place, fault)]
        with (folder / "said").open("w") as said:
            found[fault] = (subprocess.Popen(command, env=QUIET, stderr=said), folder)
    yield found
    for process, folder in found.values():
        process.kill()
        process.wait()
        for path in folder.glob("pid*"):
            with suppress(ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("hung", "rank 0: rank 1 has not got on for 6 s, it is at unembedded.py:"),
        ("frozen", "rank 0: rank 1 has not got on for 6 s, and does not answer"),
    ],
)
def test_a_process_that_does_not_get_on_is_named(faulty: Faulty, fault: str, told: str) -> None:
    """While the other works, whose parts take longer than that, and waits for nothing."""
    process, folder = faulty[fault]
    assert process.wait(timeout=240) != 0
    said = folder / "said"
    assert f"semcentres: {told}" in said.read_text()
    # A frozen one cannot end itself, and torchrun would kill it 30 s after asking it to end.
    assert said.stat().st_mtime - (folder / "pid1").stat().st_mtime < 6 + 30
    ended = r"rank 1: ended at unembedded.py:.*: rank 1 has not got on for 6 s, it is at unembedded"
    assert fault == "frozen" or re.search(ended, said.read_text())


def test_parts_may_take_longer_than_the_others_wait(faulty: Faulty, place: Path) -> None:
    process, folder = faulty["slow"]
    process.wait(timeout=240)
    assert "1 of 23 images cannot be read" in (folder / "said").read_text()
    assert read_embedded(place / "slow").items.equals(read_embedded(place / "local").items)


def test_ray_writes_the_same_bytes_and_does_only_what_is_missing(place: Path) -> None:
    """Two parts are there; that of a killed actor is done again, one that kills ends the work."""
    shutil.copytree(place / "local", place / "ray")
    for number in (0, 3, 4):
        (place / "ray" / f"part-{number:05d}.done").unlink()
    (place / "ray" / "part-00003.npy").write_bytes(b"half")
    before = {path.name: path.stat().st_mtime_ns for path in (place / "ray").iterdir()}
    done = run([WORKER, "ray", str(place), *words(place, "ray")])
    assert done.returncode == 3, done.stderr
    assert contents(place / "ray") == contents(place / "local")
    after = {path.name: path.stat().st_mtime_ns for path in (place / "ray").iterdir()}
    assert {name for name in before if after[name] == before[name]} == {
        f"part-0000{number}.{kind}" for number in (1, 2) for kind in ("done", "npy", "parquet")
    } | {"embeddings.json"}
    found = json.loads((place / "found.json").read_text())
    assert found["killed"] == "[0, 1, 2, 3, 4]"
    tries = [(place / f"killed{number}").read_text().splitlines() for number in range(5)]
    assert len(tries[2]) == 2
    assert len({pid for pids in tries for pid in pids}) == 3
    assert found["dying"].startswith("Ray has given up: ")
    assert len((place / "dying2").read_text().splitlines()) == 2
    assert found["raising"] == "image 7 cannot be read"
    assert found["none"].startswith("the Ray cluster has neither a GPU nor a processor")


def config_of(place: Path) -> EmbedConfig:
    return EmbedConfig(str(place / "run"), str(place / "images"), out=str(place / "o"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_images_are_embedded_on_the_gpu(place: Path) -> None:
    job = Job.of(config_of(place))
    job.folder.mkdir()
    job.do(0)
    assert {weight.device for weight in job.model.encoder.parameters()} == {torch.device("cuda", 0)}
    wanted = read_embedded(place / "local").vectors[: job.part_rows]
    found = np.load(job.folder / "part-00000.npy")
    np.testing.assert_allclose(found, wanted, atol=2e-3)  # TF32


def test_the_encoder_is_on_the_device_of_its_process(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On meta, which every machine has, for the GPU that it chooses by torchrun's words."""
    monkeypatch.setattr("semcentres.sharding.own_device", lambda: torch.device("meta"))
    job = Job.of(config_of(place))
    with pytest.raises(NotImplementedError, match="copy out of meta tensor"):
        job.do(0)
    assert all(weight.is_meta for weight in job.model.encoder.parameters())
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert own_device() == torch.device("cuda", 0)
    words = {"TORCHELASTIC_RUN_ID": "r", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    for name, value in {**words, "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert own_device() == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="started 4 processes for 2 GPUs; .* --nproc-per-node=2$"):
        own_device()


def test_actors_are_as_many_as_the_cluster_has_gpus_or_else_processors() -> None:
    assert _units({"GPU": 3.0, "CPU": 8.0}) == ("GPU", 3)
    assert _units({"GPU": 0.0, "CPU": 8.0, "memory": 1e9}) == ("CPU", 8)
    with pytest.raises(InputError, match="neither a GPU nor a processor"):
        _units({"memory": 1e9})


def test_a_process_that_sees_other_files_is_refused(place: Path) -> None:
    config = replace(config_of(place), images=str(place / "images" / "dog"))
    identity = Job.of(config).identity()
    assert _Start(str(place), config, identity)()
    with pytest.raises(InputError, match="under the same paths"):
        _Start(str(place), config_of(place), identity)()


def test_the_engine_must_fit_how_processes_were_started(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(place, "o"), "engine=torchrun"]) == 2
    assert "torchrun --nproc-per-node=2 -m semcentres embed" in capsys.readouterr().err
    assert main([*words(place, "o"), "engine=slurm"]) == 2
    assert "engine=slurm: there are local, torchrun, ray" in capsys.readouterr().err
    # One line only: torchrun's own process would be held up to end.
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda *_, **__: None)
    for name, value in {"TORCHELASTIC_RUN_ID": "r", "RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for engine in ("local", "ray"):
        assert main([*words(place, "o"), f"engine={engine}"]) == 2
        assert f"engine={engine} is one; add engine=torchrun" in capsys.readouterr().err
    assert not (place / "o").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "127.0.0.1:none"])
def test_cluster_that_is_not_there_is_named(
    kind: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = kind.format(server.getsockname()[1])
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert main([*words(place, "o"), "engine=ray"]) == 3
    told = capsys.readouterr().err.splitlines()[-1]
    assert (
        told
        == f"semcentres: no Ray cluster at RAY_ADDRESS={address}; mend the address, or unset it"
    )
