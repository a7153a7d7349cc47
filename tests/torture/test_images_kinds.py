"""Images as strangers send them: right pixels, or one line each, in bounds; runs go on (R7)."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Lock, Thread
from typing import Any

import pytest
from PIL import Image
from torture_figures.image_kinds import Kind, make_kinds, picture
from torture_figures.r7_images import (
    attack,
    faults_of,
    faults_of_runs,
    mutate,
    naive_pixels,
)

from centre_builders.errors import InputError
from semcentres.cli import main
from semcentres.data import decoded
from semcentres.data.folder import folder
from semcentres.data.readable import find_images
from semcentres.data.room import Room

QUICK = [
    "data=folder", "data.source.size=8", "centres=one_hot", "encoder.width=4", "trainer.steps=2",
    "trainer.warmup_steps=1", "trainer.labelled_batch=8", "trainer.unlabelled_batch=0",
    "trainer.device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> list[Kind]:
    return make_kinds(tmp_path_factory.mktemp("kinds"))


def test_every_kind_is_right_or_told_once_in_bounded_memory(
    figure: Callable[[str], dict[str, Any]],
) -> None:
    found = figure("R7")
    assert found["measured"]["kinds"] >= 40
    assert found["measured"]["faults"] == []
    assert found["passed"], found


def test_every_bad_kind_is_told_with_its_reason(kinds: list[Kind]) -> None:
    bad = [kind for kind in kinds if kind.wanted is None]
    assert all(kind.reason for kind in bad)
    assert faults_of(bad) == []
    wrong = [replace(kind, reason="another") for kind in bad]
    assert len(faults_of(wrong)) == len(bad)


def test_naive_way_is_caught(kinds: list[Kind]) -> None:
    small = [kind for kind in kinds if not kind.path.name.startswith(("large", "bomb"))]
    names = {fault.partition(":")[0] for fault in faults_of(small, naive_pixels)}
    silent = {"hidden.png", "grey16.png", "float.tif", "int32.tif", "turned6.jpg", "line.png"}
    assert silent <= names
    assert "plain.png" not in names


def test_mutated_files_are_read_or_told_once(kinds: list[Kind], tmp_path: Path) -> None:
    read, refused, wrong = attack(mutate(kinds, tmp_path / "mutated", 120, seed=0))
    assert wrong == []
    assert read > 20
    assert refused > 20


def test_run_goes_on_without_bad_files_and_stops_where_they_are_many(kinds: list[Kind]) -> None:
    few = [kind.path for kind in kinds if not kind.path.name.startswith("large")]
    assert faults_of_runs(few, len(few)) == []


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 60 images."""
    monkeypatch.setenv("SEMCENTRES_CACHE", str(tmp_path / "cache"))
    for row, name in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(60):
            Image.new("RGB", (9, 9), (4 * i, 99 * row, 0)).save(
                tmp_path / "pictures" / name / f"{i}.png"
            )
    return tmp_path / "pictures"


@pytest.mark.parametrize("share", [0.25, 0.0], ids=["in memory", "on disk"])
def test_command_trains_without_the_bad_file_and_tells_what_it_left_alone(
    pictures: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
) -> None:
    monkeypatch.setattr(decoded, "MEMORY_SHARE", share)
    (pictures / "cat" / "3.png").write_text("no image")
    for name in ("a.heic", "b.heic", "notes.txt", ".hidden.png"):
        (pictures / "dog" / name).write_text("not meant")
    out, run = pictures.parent / "check.json", pictures.parent / "run"
    assert main(["data", "check", *QUICK[:3], f"data.root={pictures}", f"out={out}"]) == 0
    found = json.loads(out.read_text())
    assert list(found["unreadable"]) == ["cat/3.png"]
    assert found["ignored"] == {".heic": 2, ".txt": 1}
    caplog.clear()
    words = ["train", *QUICK, f"data.root={pictures}", f"run_dir={run}"]
    assert main(words) == 0
    said = "\n".join(caplog.messages)
    assert said.count("cat/3.png is not a readable image") == 1
    assert "1 of 120 files are left out" in said
    assert "3 files are left alone (.heic 2, .txt 1)" in said
    split = json.loads((run / "split.json").read_text())
    ids = {id_ for part in ("labelled", "unlabelled", "test") for id_ in split[part]}
    assert len(ids) == 119
    assert "cat/3.png" not in ids
    assert main(["evaluate", f"run_dir={run}"]) == 0
    (pictures / "cat" / "4.png").write_text("no image")
    (run / "metrics.json").unlink()
    assert main(words) == 3
    assert "data.source.max_unreadable=0.01" in capfd.readouterr().err.splitlines()[-1]


def test_labels_follow_the_images_that_are_left(pictures: Path) -> None:
    for path in (pictures / "cat" / "3.png", pictures / "dog" / "0.png"):
        path.write_text("no image")
    source = folder(root=str(pictures), size=4, max_unreadable=0.1).read()
    for images in (source.train, source.test):
        for image, label, id_ in zip(images.images, images.labels, images.ids, strict=True):
            assert id_.startswith(source.class_names[label])
            assert image[0, 0, 0] == 4 * int(Path(id_).stem)
            assert image[1, 0, 0] == 99 * label


def test_bad_file_is_told_again_from_the_cache(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decoded, "MEMORY_SHARE", 0.0)
    (pictures / "cat" / "3.png").write_text("no image")
    first = folder(root=str(pictures), size=4).read()
    caplog.clear()
    again = folder(root=str(pictures), size=4).read()
    assert sum("cat/3.png" in line for line in caplog.messages) == 1
    assert again.fingerprint == first.fingerprint
    with pytest.raises(InputError, match="max_unreadable=0 "):
        folder(root=str(pictures), size=4, max_unreadable=0.0).read()


def test_cache_keeps_the_data_sets_used_last(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "MEMORY_SHARE", 0.0)
    cache, places = pictures.parent / "cache" / "images", []
    for size in range(1, decoded.KEPT + 1):
        folder(root=str(pictures), size=size).read()
        places.append(next(place for place in cache.iterdir() if place not in places))
        os.utime(places[-1], (size, size))
    folder(root=str(pictures), size=1).read()  # used again
    before = folder(root=str(pictures), size=2).read().train.images.clone()
    os.utime(places[1], (2, 2))
    mapped = folder(root=str(pictures), size=2).read().train.images
    os.utime(places[1], (2, 2))
    folder(root=str(pictures), size=9).read()
    assert len(list(cache.iterdir())) == decoded.KEPT
    assert not places[1].exists()
    assert places[0].exists()
    assert mapped.equal(before)  # what is in use stays so


def test_nothing_else_than_files_is_waited_for(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere")
    assert [path.name for path in find_images([tmp_path])] == ["a.png", "b.png", "c.png"]


def test_room_is_never_overfull_and_lets_the_largest_in() -> None:
    room, inside, most = Room(10), [0], [0]
    lock, start = Lock(), Barrier(8)

    def take(need: int) -> None:
        start.wait()
        for _ in range(30):
            with room(need):
                with lock:
                    inside[0] += min(need, 10)
                    most[0] = max(most[0], inside[0])
                with lock:
                    inside[0] -= min(need, 10)

    threads = [Thread(target=take, args=(need,)) for need in (1, 2, 3, 4, 5, 6, 10, 99)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert 0 < most[0] <= 10
