"""A folder of JPEGs that no one prepared: checked, mended, trained on, changed and noticed."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

import semcentres
from centre_builders.embedded import read_embedded
from centre_builders.errors import CorruptArtefact, InputError, UsageError
from semcentres.cli import main
from semcentres.collection import Collection
from semcentres.compose import compose_settings
from semcentres.data import decoded
from semcentres.data.dataset import from_dataset
from semcentres.data.fashion_mnist import fashion_mnist
from semcentres.data.folder import folder
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split
from semcentres.data.split_file import warn_of_duplicates
from semcentres.pictures import pictures
from semcentres.recipe import unlabelled_batch

ROWS = torch.tensor([[0, 1, 2], [9, 2, 1]])
ALL_READABLE = "data.source.max_unreadable=0.0"
CLASSES = {1: "trouser", 3: "dress", 8: "bag", 9: "ankle boot"}
QUICK = [
    "centres=one_hot", "encoder.width=4", "trainer.steps=6", "trainer.warmup_steps=2",
    "trainer.labelled_batch=16", "trainer.unlabelled_batch=16", "trainer.log_every=3",
    "trainer.checkpoint_every=3", "trainer.device=cpu", "objective.temperature=0.1",
]  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 JPEGs, 40 of each of four classes and 40 without a label; among them odd ones."""
    source, base = fashion_mnist(), tmp_path_factory.mktemp("own") / "clothes"
    places = [*((k, name, 40) for k, name in CLASSES.items()), (6, "unlabelled", 40)]
    for label, name, num in places:
        (base / name).mkdir(parents=True)
        rows = (source.train.labels == label).nonzero().flatten()[:num]
        for row in rows.tolist():
            picture = Image.fromarray(source.train.images[row, 0].numpy()).resize((56, 70))
            picture.convert("RGB").save(base / name / f"{row}.jpg", quality=95)
    bag, boot = (sorted((base / name).iterdir()) for name in ("bag", "ankle boot"))
    with Image.open(bag[0]) as image:
        image.convert("CMYK").save(bag[0])
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(boot[0]) as image:
        image.load()
        image.rotate(90, expand=True).save(boot[0], exif=exif, quality=95)
    return base


@pytest.fixture
def clothes(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMCENTRES_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(prepared, tmp_path / "clothes")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all images be too many for memory."""
    monkeypatch.setattr(decoded, "MEMORY_SHARE", 0.0)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-300])
    return path


def first(place: Path) -> Path:
    return min(place.iterdir())


def check(clothes: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    out = clothes.parent / "check.json"
    words = [f"data.root={clothes}", "centres=one_hot", f"out={out}", ALL_READABLE]
    code = main(["data", "check", "data=folder", *words])
    said = capfd.readouterr()
    return code, json.loads(out.read_text()), said.out + said.err


def test_check_then_train_by_the_commands_alone(
    clothes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad, link = cut(first(clothes / "dress")), clothes / "bag" / "[red]link.jpg"
    link.symlink_to("nowhere")
    code, found, said = check(clothes, capfd)
    assert code == 3
    assert found["unreadable"].keys() == {f"dress/{bad.name}", "bag/[red]link.jpg"}
    assert str(link) in said
    link.unlink()
    assert "truncated" in found["unreadable"][f"dress/{bad.name}"]
    assert str(bad) in said
    train = ["train", "data=folder", f"data.root={clothes}", ALL_READABLE, *QUICK]
    assert main([*train, f"run_dir={clothes.parent / 'run'}"]) == 3
    said = capfd.readouterr().err
    assert said.splitlines()[-1].startswith(f"semcentres: {bad} is not a readable image")
    assert not list((clothes.parent / "run").glob("check*"))
    bad.unlink()
    code, found, _ = check(clothes, capfd)
    assert (code, found["fit"], found["unreadable"]) == (0, True, {})
    assert found["counts"]["dress"] == {"train": 31, "test": 8}
    assert found["counts"]["(unlabelled)"] == {"train": 40, "test": 0}
    assert found["modes"] == {"RGB": 198, "CMYK": 1}
    assert (found["widths"], found["heights"]) == ([56, 56, 70], [56, 70, 70])
    assert main([*train, f"run_dir={clothes.parent / 'run'}"]) == 0
    assert main(["evaluate", f"run_dir={clothes.parent / 'run'}"]) == 0


def test_what_is_made_of_a_run_names_the_files_from_any_folder(
    clothes: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clothes.parent)
    assert main(["train", "data=folder", "data.root=clothes", *QUICK, "run_dir=run"]) == 0
    run = clothes.parent / "run"
    assert main(["embed", "run_dir=run", "split=train", "out=own"]) == 0
    assert main(["embed", "run_dir=run", "images=clothes/bag", "out=bags"]) == 0
    assert main(["predict", "run_dir=run", "split=test", "out=test.jsonl"]) == 0
    monkeypatch.chdir("/")
    assert main(["search", f"run_dir={run}", "class_name=bag", f"out={run / 'hits.json'}"]) == 0
    hits = json.loads((run / "hits.json").read_text())
    for hit in hits:
        assert Path(hit["path"]).parent == clothes / hit["label"]
    assert hits[0]["path"] in capfd.readouterr().out
    known = json.loads((run / "split.json").read_text())
    lines = (clothes.parent / "test.jsonl").read_text().splitlines()
    predicted = [json.loads(line) for line in lines]
    assert [row["image"] for row in predicted] == [str(clothes / id_) for id_ in known["test"]]
    own = read_embedded(clothes.parent / "own").items["path"].to_pylist()
    trained = [*known["labelled"], *known["unlabelled"]]
    assert sorted(own) == sorted(str(clothes / id_) for id_ in trained)
    bags = read_embedded(clothes.parent / "bags").items["path"].to_pylist()
    assert bags == [str(path) for path in sorted((clothes / "bag").iterdir())]
    # The file itself, and not the 32 pixels that it was trained as.
    found = Collection.load(run / "index")
    assert torch.equal(pictures(found, run, side=60)(9), decoded.decode(found.path(9), 60))


def test_check_finds_duplicates_names_and_small_classes(
    clothes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        for name in CLASSES.values():
            shutil.copytree(clothes / name, clothes.parent / "split" / split / name)
    for place in (clothes.parent / "split" / "test").iterdir():
        for path in sorted(place.iterdir())[0 if place.name == "bag" else 1 :]:
            path.unlink()
    (place,) = (clothes.parent / "split" / "test").glob("bag")
    place.rmdir()
    (clothes.parent / "split" / "train" / "qwxzv").mkdir()
    out = clothes.parent / "check.json"
    words = [f"data.root={clothes.parent / 'split'}", "centres=word2vec", f"out={out}"]
    assert main(["data", "check", *words]) == 3
    said, found = capfd.readouterr(), json.loads(out.read_text())
    assert len(found["duplicates"]) == 3
    for one, other in found["duplicates"]:
        assert one.removeprefix("train/") == other.removeprefix("test/")
    text = " ".join(found["problems"])
    assert "qwxzv" in text
    assert "'qwxzv' has 0 labelled training images" in text
    assert "images in more than one split: 3" in said.err.splitlines()[-1]


def test_all_classes_with_too_few_images_are_named(
    clothes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (clothes / "hat").mkdir()
    (clothes / "sock").mkdir()
    first(clothes / "bag").rename(clothes / "sock" / "a.jpg")
    assert main(["data", "check", f"data.root={clothes}", "centres=one_hot"]) == 3
    assert "'hat' has 0, 'sock' has 1; each needs 2" in capfd.readouterr().err


def test_check_counts_data_that_is_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    assert main(["data", "check", "data=mnist_5k", "centres=one_hot", f"out={out}"]) in (0, 3)
    found = json.loads(out.read_text())
    assert sum(row["train"] for row in found["counts"].values()) == 4000
    assert found["widths"] == [28, 28, 28]


def test_odd_jpegs_are_seen_as_plain_ones(clothes: Path) -> None:
    """CMYK loses little by its compression; EXIF turns the picture upright."""
    source = fashion_mnist()
    for name in ("bag", "ankle boot"):
        path = first(clothes / name)
        pixels = Image.fromarray(source.train.images[int(path.stem), 0].numpy()).resize((56, 70))
        plain = clothes.parent / "plain.png"
        pixels.save(plain)
        for channels in (1, 3):
            got, wanted = (decoded.decode(p, 28, channels).float() for p in (path, plain))
            assert got.shape == (channels, 28, 28)
            assert (got - wanted).abs().mean() < 6


def parts(source: Source) -> Iterator[Tensor]:
    for images in (source.train, source.test):
        yield images.images
        yield images.labels


@pytest.mark.parametrize("channels", [1, 3])
def test_images_on_disk_are_those_in_memory(
    clothes: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    wanted = folder(root=str(clothes), size=20, channels=channels).read()
    monkeypatch.setattr(decoded, "MEMORY_SHARE", 0.0)
    got = folder(root=str(clothes), size=20, channels=channels).read()
    assert got.train.on_disk
    assert not wanted.train.on_disk
    assert got.train.images.shape == (168, channels, 20, 20)
    for one, other in zip(parts(got), parts(wanted), strict=True):
        assert torch.equal(one, other)
    assert (got.fingerprint, got.statistics) == (wanted.fingerprint, wanted.statistics)


@pytest.mark.usefixtures("large")
def test_images_on_disk_are_decoded_once_and_anew_when_a_file_changes(
    clothes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    decode = decoded.decode

    def counted(path: Path, *how: int) -> Tensor:
        asked.append(path)
        return decode(path, *how)

    monkeypatch.setattr(decoded, "decode", counted)
    before = folder(root=str(clothes), size=8).read()
    folder(root=str(clothes), size=8).read()
    assert len(asked) == 200
    Image.new("RGB", (9, 9), "red").save(first(clothes / "bag"))
    after = folder(root=str(clothes), size=8).read()
    assert len(asked) == 400
    assert after.fingerprint != before.fingerprint


@pytest.mark.usefixtures("large")
def test_nothing_half_decoded_is_kept(clothes: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = [cut(first(clothes / name)) for name in ("bag", "dress")]
    with pytest.raises(InputError, match="further ones, named above: 1"):
        folder(root=str(clothes), size=8, max_unreadable=0.0).read()
    assert [sum(str(path) in line for line in caplog.messages) for path in bad] == [1, 1]
    kept = clothes.parent / "cache" / "images"
    assert not list(kept.iterdir())
    for path in bad:
        path.unlink()
    folder(root=str(clothes), size=8).read()
    (place,) = kept.iterdir()
    (place / decoded.PIXELS).write_bytes(b"short")
    with pytest.raises(CorruptArtefact, match=r"has 5 bytes.*remove"):
        folder(root=str(clothes), size=8).read()


def test_training_on_disk_ends_with_the_same_bits(
    clothes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["data=folder", f"data.root={clothes}", "data.source.size=16", *QUICK]
    runs = []
    # Of as many processes as that on this machine, each would have its own.
    for name, share, processes in (("memory", 0.25, 1), ("disk", 0.25, 10**12)):
        monkeypatch.setattr(decoded, "MEMORY_SHARE", share)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        run, results = semcentres.train(*words, f"run_dir={clothes.parent / name}")
        stored = run.path / "model.safetensors"
        runs.append((results, stored.read_bytes(), (run.path / "split.json").read_bytes()))
    assert (Path(os.environ["SEMCENTRES_CACHE"]) / "images").is_dir()
    assert runs[0] == runs[1]


def test_changed_data_is_told_on_resume_and_evaluation(
    clothes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = clothes.parent / "run"
    words = ["data=folder", f"data.root={clothes}", "data.source.size=8", *QUICK]
    assert main(["train", *words, f"run_dir={run}"]) == 0
    split = json.loads((run / "split.json").read_text())
    num = {part: len(split[part]) for part in ("labelled", "unlabelled", "validation", "test")}
    assert num == {"labelled": 128, "unlabelled": 40, "validation": 0, "test": 32}
    assert all(id_.startswith("unlabelled/") for id_ in split["unlabelled"])
    gone, changed = sorted((clothes / "unlabelled").iterdir())[:2]
    gone.unlink()
    Image.new("RGB", (9, 9), "red").save(changed)
    Image.new("RGB", (9, 9), "blue").save(clothes / "unlabelled" / "new.png")
    (run / "metrics.json").unlink()  # as if it had been stopped
    for verb in (["train", *words], ["evaluate"]):
        capfd.readouterr()
        assert main([*verb, f"run_dir={run}"]) == 3
        line = capfd.readouterr().err.splitlines()[-1]
        assert "images added: 1 (unlabelled/new.png)" in line
        assert f"images removed: 1 (unlabelled/{gone.name})" in line
        assert f"images changed: 1 (unlabelled/{changed.name})" in line
    (run / "split.json").write_text("{}")
    with pytest.raises(CorruptArtefact, match=r"split\.json is not a run's split"):
        semcentres.evaluate(f"run_dir={run}")


def test_test_images_that_were_trained_on_are_told(caplog: pytest.LogCaptureFixture) -> None:
    digits = fashion_mnist()
    train, test = (ImageSet(digits.train.images[rows], torch.zeros(3).long()) for rows in ROWS)
    warn_of_duplicates(Source("x", ("a",), train, test))
    assert "2 of 3 test images are training images too, such as 1" in caplog.text


class Pairs(Dataset[tuple[Any, int]]):
    """Images and labels as a user's Dataset gives them."""

    def __init__(self, items: list[tuple[Any, int]]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.items[row]


def test_trains_on_a_dataset_from_python(tmp_path: Path) -> None:
    digits = fashion_mnist()
    pictures = [Image.fromarray(digits.train.images[row, 0].numpy()) for row in range(300)]
    labels = [row % 2 if row < 290 else -1 for row in range(300)]
    train = Pairs(list(zip(pictures, labels, strict=True)))
    test = Pairs([(digits.test.images[row], row % 2) for row in range(20)])
    how: dict[str, Any] = {"test": test, "size": 28, "channels": 1}
    source = from_dataset(train, ["a", "b"], **how, num_workers=2)
    assert torch.equal(source.train.images, digits.train.images[:300])
    assert source.train.labels.tolist() == labels
    assert source.fingerprint == from_dataset(train, ["a", "b"], **how).fingerprint
    words = [*QUICK, f"run_dir={tmp_path / 'run'}", "data.labels_per_class=null"]
    run, results = semcentres.train(*words, source=source)
    assert results["num_images"] == 20
    again = semcentres.evaluate(f"run_dir={run.path}", source=source)[1]
    assert again["nearest_centre_accuracy"] == results["nearest_centre_accuracy"]
    with pytest.raises(UsageError, match=r"came from Python.*source=source"):
        semcentres.evaluate(f"run_dir={run.path}")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ((torch.zeros(1, 8, 8), 0), "float32"),
        ((torch.zeros(1, 8, 9, dtype=torch.uint8), 0), r"\(1, 8, 9\), wanted"),
        ((Image.new("L", (8, 8)), 2), "label 2, wanted -1 to 1"),
        (("a.jpg", 0), "str, wanted a PIL image"),
    ],
)
def test_wrong_item_is_named(item: tuple[Any, int], said: str) -> None:
    good = (Image.new("L", (8, 8)), 0)
    with pytest.raises(InputError, match=rf"item 1 of train: .*{said}"):
        from_dataset(Pairs([good, item]), ["a", "b"], test=Pairs([good]), size=8, channels=1)


def test_batch_has_no_more_unlabelled_images_than_there_are() -> None:
    rows = torch.arange(12)
    split = Split(labelled=rows[:3], unlabelled=rows[3:8], validation=rows[8:])
    for asked, given in ((9, 5), (2, 2), (0, 0)):
        config = compose_settings("train", [f"trainer.unlabelled_batch={asked}"])
        assert unlabelled_batch(config, split) == given
