"""The folder that the mistakes of `fault_rows` are made in: good and bad images, names, vectors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from semcentres.cli import main

SMALL = (
    "data=folder data.source.size=8 centres=one_hot encoder.width=4 trainer.steps=2"
    " trainer.warmup_steps=1 trainer.labelled_batch=4 trainer.unlabelled_batch=0"
    " trainer.device=cpu"
)


def prepare(folder: Path) -> None:
    """Make the files that the mistakes are about."""
    pictures(folder / "pictures")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, make in ODD.items():
        make(folder / name)
    train = f"train {SMALL} force_temperature=true data.root={folder / 'pictures'}"
    for words in (
        f"centres centres=word2vec names=[cat,dog] out={folder / 'animals.safetensors'}",
        f"centres centres=one_hot data=mnist_5k centres.dimension=10 out={folder}/ten.safetensors",
        f"{train.replace('one_hot', 'word2vec')} run_dir={folder / 'run'}",
        f"embed run_dir={folder / 'run'} out={folder / 'embeddings'}",
    ):
        if main(words.split()):
            raise RuntimeError(f"this should have worked: {words}")
    bank = bytearray((folder / "animals.safetensors").read_bytes())
    bank[-3] ^= 1
    (folder / "flipped.safetensors").write_bytes(bank)
    (folder / "cut.safetensors").write_bytes(bank[:-40])


def pictures(folder: Path, *, each: int = 6) -> None:
    """Write some images of two classes."""
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def _one_class_empty(place: Path) -> None:
    pictures(place)
    (place / "zebra").mkdir()


def _one_image(place: Path) -> None:
    pictures(place)
    (place / "zebra").mkdir()
    Image.new("RGB", (9, 9)).save(place / "zebra" / "only.png")


def _all_bad(place: Path) -> None:
    pictures(place)
    for path in place.rglob("*.png"):
        path.write_text("no image")


def _strange_test(place: Path) -> None:
    pictures(place / "train")
    pictures(place / "test")
    pictures(place / "test" / "more")
    (place / "test" / "more").rename(place / "test" / "zebra")


def _vectors(rows: list[list[float]]) -> Callable[[Path], None]:
    return lambda place: np.save(place, np.array(rows, np.float32))


MANIFESTS = {
    "no_columns.csv": "file,kind\na.png,cat\n",
    "no_path.csv": "path,label\n,cat\n",
    "twice.csv": "path,label\npictures/cat/0.png,cat\npictures/cat/0.png,dog\n",
    "bad_split.csv": "path,label,split\npictures/cat/0.png,cat,dev\n",
    "test_only.csv": "path,label,split\npictures/cat/0.png,cat,train\na.png,dog,test\n",
    "cells.csv": "path,label\npictures/cat/0.png,cat,4\n",
    "half_split.csv": "path,label,split\npictures/cat/0.png,cat,train\npictures/dog/0.png,dog,\n",
    "latin.csv": b"path,label\npictures/caf\xe9.png,cat\n",
    "gone.csv": "path,label\n" + "".join(f"gone{i}.png,{'ab'[i % 2]}\n" for i in range(8)),
    "no.parquet": "no parquet",
}  # fmt: skip
FILES: dict[str, str | bytes] = {
    **MANIFESTS,
    "empty.txt": "\n \n", "twice.txt": "cat\ndog\nCat\n", "folded.txt": "sea lion\nsea_lion\n",
    "latin.txt": b"caf\xe9\n", "tab.txt": "cat\n\ta description\n",
    "zero_width.txt": "cat\ndo\u200bg\n", "turned.txt": "cat\ndo\u202eg\n",
    "header.csv": "klass\ncat\n", "fields.csv": "name,description\ncat,a,b\n",
    "broken.json": '["cat",', "number.json": "7", "typed.json": '["cat", false, null]',
    "keys.json": '[{"label": "cat"}]', "names.yaml": "- no\n- cat\n",
    "nan.csv": "cat,1,nan\ndog,1,0\n", "short.csv": "cat,1,0\ndog,1\n",
    "text.csv": "cat,1,x\ndog,1,0\n", "circle.csv": "child,parent\ncat,dog\ndog,cat\n",
    "lacks.csv": "child,parent\nlion,animal\ncat,animal\n", "tree.txt": "cat animal",
    "words.txt": "cat 0.1 0.2\ndog 0.3\n", "notes.safetensors": "no bank",
    "notes.png": "no image", "folder/notes.txt": "no image", "pair.txt": "cat\ndog\n",
}  # fmt: skip
ODD: dict[str, Callable[[Path], None]] = {
    "empty_class": _one_class_empty, "one_image": _one_image, "all_bad": _all_bad,
    "strange": _strange_test, "none": lambda place: place.mkdir(),
    "flat": lambda place: (place.mkdir(), Image.new("RGB", (9, 9)).save(place / "a.png"))[0],
    "zero.npy": _vectors([[1, 0, 0], [0, 0, 0]]), "same.npy": _vectors([[1, 2, 3], [2, 4, 6]]),
    "inf.npy": _vectors([[1, 0, 0], [np.inf, 0, 0]]),
    "three.npy": _vectors([[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
}  # fmt: skip
