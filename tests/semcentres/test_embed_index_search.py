"""The verbs embed, index and search over files, from outside: what is finished is not lost."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import semcentres
from centre_builders import disk
from centre_builders.embedded import read_embedded
from centre_builders.errors import CorruptArtefact, InputError
from centre_builders.items import make_items
from semcentres.cli import main
from semcentres.collection import Collection, save_collection
from semcentres.compose import load_config
from semcentres.data.listing import list_images
from semcentres.index import Index
from semcentres.model import Model
from semcentres.recipe import make_source
from semcentres.weights import make_encoder, save_model

WORDS = [
    "train", "data=mnist_5k", "centres=word2vec", "encoder.width=4", "trainer.steps=12",
    "trainer.learning_rate=0.02",
    "trainer.labelled_batch=16", "trainer.unlabelled_batch=16", "trainer.device=cpu",
]  # fmt: skip
NUM = 23


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and a model that was not trained, of one bank."""
    place = tmp_path_factory.mktemp("runs")
    assert main([*WORDS, f"run_dir={place / 'a'}"]) == 0
    bank, component = Model.load(place / "a").bank, load_config(place / "a/config.yaml").encoder
    bank.save(place / "b" / "centres.safetensors")
    encoder = make_encoder(component, channels=1, bank=bank)
    images = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    save_model(place / "b", encoder, component=component, bank=bank, images=images, data="none")
    return place / "a", place / "b"


@pytest.fixture(scope="module")
def originals(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as PNG, below folders of which one is called like a class."""
    place = tmp_path_factory.mktemp("digits")
    images = make_source(load_config(runs[0] / "config.yaml").data).test.images
    for number in range(NUM):
        folder = place / ("seven" if number < 9 else "various")
        folder.mkdir(exist_ok=True)
        Image.fromarray(images[number][0].numpy()).save(folder / f"{number:02d}.png")
    return place


@pytest.fixture
def digits(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals, tmp_path / "digits"))


def embed(run_dir: Path, images: Path, out: Path, *words: str) -> int:
    return main(["embed", f"run_dir={run_dir}", f"images={images}", f"out={out}", *words])


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time and bytes of every file."""
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.iterdir())}


def test_parts_are_the_rows_of_the_whole(
    runs: tuple[Path, Path], digits: Path, tmp_path: Path
) -> None:
    assert embed(runs[0], digits, tmp_path / "whole") == 0
    assert embed(runs[0], digits, tmp_path / "parts", "part_rows=5") == 0
    whole, parts = read_embedded(tmp_path / "whole"), read_embedded(tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("part-*.done"))) == 5
    assert whole.items.equals(parts.items)
    np.testing.assert_allclose(whole.vectors, parts.vectors, atol=1e-6)
    model = Model.load(runs[0])
    assert whole.about == {"model": model.fingerprint}
    images = make_source(load_config(runs[0] / "config.yaml").data).test.images[:NUM]
    np.testing.assert_allclose(whole.vectors, model.embed(images), atol=1e-6)
    assert whole.items["id"].to_pylist() == list(range(NUM))
    assert whole.items["label"].to_pylist() == ["seven"] * 9 + [None] * (NUM - 9)
    assert [Path(p).stem for p in whole.items["path"].to_pylist()] == [
        f"{number:02d}" for number in range(NUM)
    ]


def test_again_changes_nothing(runs: tuple[Path, Path], digits: Path, tmp_path: Path) -> None:
    out, index = tmp_path / "e", tmp_path / "i"
    for _ in range(2):
        assert embed(runs[0], digits, out, "part_rows=7") == 0
        assert main(["index", f"embeddings={out}", f"out={index}"]) == 0
        first = locals().get("first") or (contents(out), contents(index))
    assert contents(out) == first[0]
    assert {k: v[1] for k, v in contents(index).items()} == {k: v[1] for k, v in first[1].items()}


def test_only_what_changed_is_embedded_again(
    runs: tuple[Path, Path], digits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "e"
    assert embed(runs[0], digits, out, "part_rows=6") == 0
    before = contents(out)
    changed = digits / "various" / "14.png"
    shutil.copy(digits / "seven" / "00.png", changed)
    os.utime(changed, ns=(0, 0))
    damaged = bytearray((out / "part-00000.npy").read_bytes())
    damaged[-1] ^= 1
    (out / "part-00000.npy").write_bytes(damaged)
    with pytest.raises(CorruptArtefact, match=r"part-00000\.npy differs"):
        read_embedded(out)
    for file in ("22.png", "21.png", "20.png", "19.png", "18.png", "17.png"):
        (digits / "various" / file).unlink()
    assert embed(runs[0], digits, out, "part_rows=6") == 0
    after = contents(out)
    assert {name for name in after if after[name] != before[name]} == {
        "part-00000.npy", "part-00000.parquet", "part-00000.done", "part-00002.npy",
        "part-00002.parquet", "part-00002.done", "embeddings.json",
    }  # fmt: skip
    assert after["part-00000.npy"][1] == before["part-00000.npy"][1]
    found = read_embedded(out)
    assert len(found.vectors) == 17
    np.testing.assert_allclose(found.vectors[14], found.vectors[0], atol=1e-6)


def test_unreadable_files_are_named_and_left_out(
    runs: tuple[Path, Path],
    digits: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut = digits / "seven" / "03.png"
    cut.write_bytes(cut.read_bytes()[:60])
    out = tmp_path / "e"
    for _ in range(2):  # the second time from what is stored
        assert embed(runs[0], digits, out, "part_rows=10") == 3
        said = capfd.readouterr()
        assert caplog.text.count("03.png is not a readable image") == 1
        caplog.clear()
        assert "semcentres: 1 of 23 images cannot be read, named above" in said.err
        assert said.out == f"{out}\n"
    assert read_embedded(out).items["id"].to_pylist() == [n for n in range(NUM) if n != 3]
    (digits / "none").mkdir()
    (digits / "none" / "x.png").write_bytes(b"")
    assert embed(runs[0], digits / "none", tmp_path / "n") == 3
    assert "none of 1 images can be read; the first one: " in capfd.readouterr().err


def test_another_model_is_refused(
    runs: tuple[Path, Path], digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, index = tmp_path / "e", tmp_path / "i"
    assert embed(runs[0], digits, out) == 0
    before = contents(out)
    assert embed(runs[1], digits, out) == 3
    a, b = (Model.load(run).fingerprint[:12] for run in runs)
    assert f"holds embeddings by model {a}, this model is {b}; set" in capfd.readouterr().err
    assert contents(out) == before
    assert main(["index", f"embeddings={out}", f"out={index}"]) == 0
    capfd.readouterr()
    assert main(["search", f"run_dir={runs[1]}", f"among={index}", "text=seven"]) == 3
    assert f"made with model {a}, this model is {b}; embed and" in capfd.readouterr().err


def test_killed_within_a_part_goes_on_from_there(
    runs: tuple[Path, Path], digits: Path, tmp_path: Path
) -> None:
    """SIGKILL between the files of a part, where the process waits for it."""
    out = tmp_path / "e"
    words = ["embed", f"run_dir={runs[0]}", f"images={digits}", f"out={out}", "part_rows=6"]
    code = f"""
import sys, time
from centre_builders import embedded
write = embedded.write_file
def slow(path, *parts):
    if path.name == "part-00002.parquet":
        print("here", flush=True)
        time.sleep(600)
    write(path, *parts)
embedded.write_file = slow
from semcentres.cli import main
sys.exit(main({words!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert (out / "part-00002.npy").is_file()
    assert not (out / "part-00002.done").exists()
    with pytest.raises(InputError, match=r"holds no embeddings\.json: .* not all yet"):
        read_embedded(out)
    done = contents(out)
    dead = out / f".tmp-part-00003.npy-{disk._machine()}-999999999"
    dead.write_bytes(b"of a process that is dead")
    assert main(words) == 0
    after = contents(out)
    finished = [name for name in done if name.startswith(("part-00000", "part-00001"))]
    assert len(finished) == 6
    assert all(after[name] == done[name] for name in finished)
    assert not list(out.glob(".tmp-*"))
    assert embed(runs[0], digits, tmp_path / "unstopped", "part_rows=6") == 0
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in contents(tmp_path / "unstopped").items()
    }


def test_search_finds_an_image_by_itself_and_writes_it(
    runs: tuple[Path, Path], digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, index = tmp_path / "e", tmp_path / "i"
    assert embed(runs[0], digits, out) == 0
    assert main(["index", f"embeddings={out}", f"out={index}", "kind=ivf", "recall=0.5"]) == 0
    recall = Collection.load(index).index.recall.value  # type: ignore[union-attr]
    assert f"{recall:.3f}" in capfd.readouterr().out
    image = digits / "various" / "15.png"
    ask = ["search", f"run_dir={runs[0]}", f"among={index}", f"image={image}", "k=4"]
    for name in ("hits.json", "hits.csv"):
        report = tmp_path / "found.png"
        assert main([*ask, f"out={tmp_path / name}", f"report={report}"]) == 0
        assert str(image) in capfd.readouterr().out
    rows = json.loads((tmp_path / "hits.json").read_text())
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert (rows[0]["path"], rows[0]["id"], rows[0]["label"]) == (str(image), 15, None)
    assert rows[0]["cosine"] == pytest.approx(1, abs=1e-5)
    model = Model.load(runs[0])
    vector = read_embedded(out).vectors[rows[2]["id"]]
    nearest = model.bank.names[int((model.bank.vectors @ vector).argmax())]
    assert rows[2]["nearest_class"] == nearest
    with (tmp_path / "hits.csv").open() as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in rows]
    with Image.open(report) as picture:
        assert picture.width > 600


def test_nearest_class_of_each_image_and_labels_that_look_like_formulas(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    """A collection of the centres themselves: each is nearest to its own class."""
    model = Model.load(runs[0])
    names = list(model.bank.names)
    items = make_items(np.arange(len(names)), [None] * len(names), ["=1+1", *names[1:]])
    index = Index.build(model.bank.vectors)
    save_collection(tmp_path / "i", index, items, {"model": model.fingerprint})
    ask = ["search", f"run_dir={runs[0]}", f"among={tmp_path / 'i'}", "class_name=seven", "k=10"]
    assert main([*ask, f"out={tmp_path / 'hits.json'}"]) == 0
    rows = json.loads((tmp_path / "hits.json").read_text())
    assert rows[0]["id"] == names.index("seven")
    assert [row["nearest_class"] for row in rows] == [names[row["id"]] for row in rows]
    assert main([*ask, f"out={tmp_path / 'hits.csv'}"]) == 0
    with (tmp_path / "hits.csv").open() as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"'=1+1", *names[1:]}


def test_search_of_the_runs_own_images(
    runs: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "own.png"
    words = ["search", f"run_dir={runs[0]}", "class_name=seven", "k=3", f"report={report}"]
    assert main(words) == 0
    assert "seven: 3 of 4,000 images (exact)" in capfd.readouterr().out
    assert (
        semcentres.search(*words[1:]).rows[0]["nearest_class"]
        in semcentres.load(runs[0]).bank.names
    )
    assert report.is_file()


@pytest.mark.parametrize(
    ("words", "code", "fault"),
    [
        ([], 2, "search needs one of text, class_name and image, got none"),
        (["text=a", "class_name=b"], 2, "got text, class_name"),
        (["class_name=zebra"], 3, "the bank has no centre for 'zebra'"),
        (["text=xqzzy"], 3, "no word of 'xqzzy'"),
        (["text=seven", "out=hits.txt"], 2, r"out=hits.txt must end in .json or .csv"),
        (["text=seven", "report=hits.gif"], 2, "report=hits.gif must end in .png"),
        (["text=seven", "among=nowhere"], 3, "nowhere holds no items.parquet; make it with"),
        (["image=nowhere.png"], 3, "nowhere.png is not a readable image"),
    ],
)
def test_search_refuses(
    runs: tuple[Path, Path],
    words: list[str],
    code: int,
    fault: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["search", f"run_dir={runs[0]}", *words]) == code
    assert fault in capfd.readouterr().err


def test_embed_and_index_refuse(
    runs: tuple[Path, Path], digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    run = f"run_dir={runs[0]}"
    for words, code, fault in [
        (["embed", run, f"images={digits}"], 2, "images=... needs out=FOLDER"),
        (["embed", run, "part_rows=0"], 2, "part_rows must be at least 1, got 0"),
        (["embed", run, "images=nowhere", "out=x"], 3, "nowhere is neither a file nor a folder"),
        (["index", f"embeddings={digits}", "out=x"], 3, "holds no embeddings.json"),
        (["index", "embeddings=x", "out=x", "kind=pq"], 2, "kind must be auto, flat, ivf or hnsw"),
        (["index", "embeddings=x", f"out={tmp_path / 'mine'}"], 2, "holds something else than"),
    ]:
        assert main(words) == code
        assert fault in capfd.readouterr().err
    assert (tmp_path / "mine" / "letter.txt").is_file()


def test_strange_files_among_the_parts(
    runs: tuple[Path, Path], digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e"
    out.mkdir()
    (out / "part-notes.txt").write_text("mine")
    assert embed(runs[0], digits, out) == 0
    assert (out / "part-notes.txt").is_file()
    for name, text in (
        ("part-00000.done", "{}"), ("embeddings.json", "{}"), ("embeddings.json", "{"),
    ):  # fmt: skip
        (out / name).write_text(text)
        capfd.readouterr()
        assert main(["index", f"embeddings={out}", f"out={tmp_path / 'i'}"]) == 3
        assert f"{out / name} is not what embed wrote" in capfd.readouterr().err.splitlines()[-1]
    assert embed(runs[0], digits, out) == 0
    assert len(read_embedded(out).vectors) == NUM


def test_tables_list_images_with_labels(digits: Path) -> None:
    table = digits / "list.csv"
    table.write_text("path,label\nseven/01.png,one\nvarious/12.png,\n")
    wanted = [(digits / "seven/01.png", "one"), (digits / "various/12.png", None)]
    assert list_images(str(table), ["seven"]) == wanted
    table.write_text("path,label\nseven/01.png,NA\n")  # a class may be called so
    assert list_images(str(table), []) == [(digits / "seven/01.png", "NA")]
    (digits / "seven").rename(digits / "2024")
    with chdir(digits):
        assert len(list_images(2024, [])) == 9  # what images=2024 becomes
    (digits / "2024").rename(digits / "seven")
    table.write_text("path,label\nseven/01.png,one\nvarious/12.png,\n")
    mixed = list_images([str(digits / "seven"), str(table)], ["SEVEN"])
    assert mixed == [(p, "SEVEN") for p in sorted((digits / "seven").iterdir())] + wanted
    for text, fault in [
        ("file\na.png\n", "no column path; it has file"),
        ("path,label\n", "lists no images"),
        ("path,label\na.png,x\n,y\n", "line 3: path is empty"),
    ]:
        table.write_text(text)
        with pytest.raises(InputError, match=fault):
            list_images(str(table), [])
