"""Files that run code where they are opened carelessly, and everything of ours that opens files.

What runs leaves a file behind: the marker.
"""

import gzip
import json
import os
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

# torch comes first: both bring an OpenMP of their own.
import torch  # isort: skip
import gensim.models
import numpy as np
import yaml
from torchvision.models import ResNet18_Weights

from centre_builders import json_files
from centre_builders.artefact import describe_file, write_folder
from centre_builders.bank import CentreBank
from centre_builders.class_names import read_class_names
from centre_builders.embedded import complete, read_embedded, write_part
from centre_builders.from_file import FromFile
from centre_builders.items import make_items
from centre_builders.sentence import Sentence
from centre_builders.tree_files import read_taxonomy
from centre_builders.word2vec import Word2Vec
from semcentres.backbones import DEFAULT, read_weights, torchvision_model
from semcentres.checkpoint import STATE, RunFolder
from semcentres.collection import ITEMS, Collection
from semcentres.compose import load_config
from semcentres.data.image_file import load_image
from semcentres.data.listing import list_images
from semcentres.data.manifest import manifest
from semcentres.index import FILE_NAME
from semcentres.model import Model
from semcentres.weights import CENTRES, WEIGHTS

Read = Callable[[bytes, Path], object]  # a payload and a folder to itself


class Payload:
    """What a stranger's pickle may hold."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.marker,))


def _torch(marker: Path, *, zipped: bool) -> bytes:
    buffer = BytesIO()
    torch.save({"w": Payload(marker)}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _numpy(marker: Path, *, zipped: bool) -> bytes:
    buffer, array = BytesIO(), np.array([Payload(marker)], dtype=object)
    np.savez(buffer, centres=array) if zipped else np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _npy_head(marker: Path) -> bytes:
    """A head that is Python, of a file that old NumPy would have evaluated."""
    head = f"{{'descr': open({str(marker)!r}, 'w'), 'shape': (1,), 'fortran_order': False}}\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode()


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda marker: pickle.dumps(Payload(marker)),
    "compressed pickle": lambda marker: gzip.compress(pickle.dumps(Payload(marker))),
    "torch": lambda marker: _torch(marker, zipped=True),
    "old torch": lambda marker: _torch(marker, zipped=False),
    "npy": lambda marker: _numpy(marker, zipped=False),
    "npz": lambda marker: _numpy(marker, zipped=True),
    "npy head": _npy_head,
    "yaml": lambda marker: f"a: !!python/object/apply:os.mkdir ['{marker}']\n".encode(),
    "python": lambda marker: f"__import__('os').mkdir({str(marker)!r})\n".encode(),
}


def _file(suffix: str, read: Callable[[Path], object]) -> Read:
    def written(content: bytes, place: Path) -> object:
        path = place / f"x{suffix}"
        path.write_bytes(content)
        return read(path)

    return written


def _names_of(place: Path) -> str:
    (place / "names.txt").write_text("a\n")
    return str(place / "names.txt")


def _vectors(path: Path) -> object:
    return FromFile(path=str(path), names_path=_names_of(path.parent)).build(["a"], seed=0)


def _words(path: Path) -> object:
    return Word2Vec(path=str(path)).build(["a"], seed=0)


RUN_FILES = (WEIGHTS, CENTRES, "config.yaml", "split.json", "metrics.json", "metrics.jsonl")
SUFFIXES = (
    ".txt", ".csv", ".json", ".bin", ".kv", ".model", ".npy", ".parquet", ".safetensors", ".yaml",
    ".png", ".pth",
)  # fmt: skip


def run_folder(content: bytes, place: Path) -> Path:
    """Return a run folder of which every file is the payload, as are further files x.*.

    So are the images of two classes, the index and the embeddings within it.
    """
    images = [f"images/{name}/{i}.png" for name in "ab" for i in range(3)]
    for name in (*RUN_FILES, *(f"x{suffix}" for suffix in SUFFIXES), *images):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    _checkpoint(content, place)
    _collection(content, place / "index")
    _embeddings(content, place / "embeddings", suffix=".npy")
    return place


def _checkpoint(content: bytes, place: Path) -> Path:
    with write_folder(place / "checkpoints" / "step-00000001", about={"step": 1}) as folder:
        (folder / STATE).write_bytes(content)
    return place


def _collection(content: bytes, place: Path) -> Path:
    with write_folder(place, about={"model": "m", "shape": [1, 2]}) as folder:
        (folder / FILE_NAME).write_bytes(content)
        (folder / ITEMS).write_bytes(content)
    return place


def _embeddings(content: bytes, place: Path, *, suffix: str) -> Path:
    items = make_items(np.arange(1), ["a"], ["a"])
    write_part(place, 0, np.ones((1, 1), np.float32), items, {"model": "m", "rows": 1})
    complete(place, {"model": "m"}, 1)
    (place / f"part-00000{suffix}").write_bytes(content)
    done = json_files.unsealed(json.loads((place / "part-00000.done").read_text()))
    done["files"] = {name: describe_file(place / name) for name in done["files"]}
    (place / "part-00000.done").write_text(json.dumps(json_files.sealed(done)))
    return place


def _published(content: bytes, place: Path) -> object:
    """Load torchvision's own weights, of which the payload lies in the cache."""
    file = place / "hub" / "checkpoints" / Path(ResNet18_Weights.DEFAULT.url).name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    os.environ["TORCH_HOME"] = str(place)
    return torchvision_model(channels=3, dimension=4, name="resnet18", weights=DEFAULT)


LOADERS: list[Read] = [
    _file(".safetensors", CentreBank.load),
    lambda content, place: Model.load(run_folder(content, place)),
    lambda content, place: RunFolder(_checkpoint(content, place)).newest_checkpoint({}),
    lambda content, place: read_embedded(_embeddings(content, place, suffix=".npy")),
    lambda content, place: read_embedded(_embeddings(content, place, suffix=".parquet")),
    lambda content, place: Collection.load(_collection(content, place)),
    *(_file(suffix, _vectors) for suffix in (".npy", ".safetensors", ".csv", ".parquet")),
    *(_file(f".{s}", _words) for s in ("txt", "bin", "kv", "model", "pkl", "txt.gz", "bin.gz")),
    *(_file(suffix, read_class_names) for suffix in (".txt", ".csv", ".json")),
    *(_file(suffix, read_taxonomy) for suffix in (".yaml", ".csv")),
    _file(".yaml", load_config),
    *(_file(suffix, lambda p: read_weights(str(p))) for suffix in (".pth", ".safetensors")),
    _published,
    _file(".png", lambda path: load_image(path, 8)),
    *(_file(suffix, lambda path: list_images(str(path), ["a"])) for suffix in (".csv", ".parquet")),
    *(_file(suffix, lambda path: manifest(file=str(path))) for suffix in (".csv", ".parquet")),
]


def sentence_folder(marker: Path, place: Path) -> object:
    """Load a sentence model whose list of modules names code that lies beside it."""
    (place / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: ...\n")
    module = {"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}
    (place / "modules.json").write_text(json.dumps([module]))
    (place / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Evil"}}))
    return Sentence(model=str(place)).build(["a"], seed=0)


NAIVE: dict[str, Callable[[Path], Any]] = {
    "pickle": lambda path: gensim.models.KeyedVectors.load(str(path)),
    "torch": lambda path: torch.load(path, weights_only=False),
    "npy": lambda path: np.load(path, allow_pickle=True),
    "yaml": lambda path: yaml.unsafe_load(path.read_text()),
}
