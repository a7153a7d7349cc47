"""The kinds of artefacts that R5 changes: how each is made, and read by us and as is usual."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

# torch comes first: both bring an OpenMP of their own.
import torch  # isort: skip
import faiss
import numpy as np
from safetensors.numpy import load as load_safetensors

from centre_builders.bank import CentreBank
from centre_builders.building import build_bank
from centre_builders.embedded import complete, read_embedded, write_part
from centre_builders.items import make_items
from centre_builders.one_hot import OneHot
from semcentres.checkpoint import RunFolder
from semcentres.collection import Collection
from semcentres.faiss_files import LISTS_NAME
from semcentres.model import Model
from semcentres.weights import make_encoder, save_model
from torture_figures.more_writers import ON_DISK, save_index

NUM, WIDTH = 300, 8


@dataclass(frozen=True)
class Kind:
    """A kind of artefact: how it is made and read, and how one of its files usually is."""

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], str]
    file: str
    naive: Callable[[bytes], str]


def _rows() -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(NUM, WIDTH)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _mark(*parts: object) -> str:
    """Return a hash of arrays and of what has a repr."""
    digest = sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return digest.hexdigest()


def _bank() -> CentreBank:
    names = [f"class {i}" for i in range(WIDTH)]
    return build_bank(OneHot(), names, remove_mean=True, dimension=WIDTH)


def _make_bank(place: Path) -> None:
    _bank().save(place / "bank.safetensors")


def _read_bank(place: Path) -> str:
    bank = CentreBank.load(place / "bank.safetensors")
    arrays = [a for s in bank.conditioning for a in (s.offset, s.matrix) if a is not None]
    return _mark(bank.fingerprint, bank.vectors, *arrays)


def _make_checkpoint(place: Path) -> None:
    run = RunFolder(place)
    state = {"encoder": {"w": torch.linspace(0, 1, 64).view(8, 8)}, "step": 7, "best": None}
    run.save_checkpoint(state, step=7, about={"bank": "b"})


def _read_checkpoint(place: Path) -> str:
    found = RunFolder(place).newest_checkpoint({"bank": "b"})
    return _mark(repr(found))


def _make_embeddings(place: Path) -> None:
    labels = ["cat", "dog", None] * (NUM // 3)
    for number, part in enumerate((slice(0, 200), slice(200, NUM))):
        ids = np.arange(NUM)[part]
        items = make_items(ids, [f"{i}.png" for i in ids], labels[part])
        about = {"model": "m", "rows": len(ids), "mark": "x", "faults": []}
        write_part(place, number, _rows()[part], items, about)
    complete(place, {"model": "m"}, 2)


def _read_embeddings(place: Path) -> str:
    found = read_embedded(place)
    return _mark(found.vectors, found.items.to_pydict(), found.about)


def _make_index(place: Path) -> None:
    for kind in ("flat", "ivf", "hnsw"):
        _save_index(kind, place / kind)


def _save_index(kind: str, folder: Path) -> None:
    items = make_items(np.arange(NUM), [f"{i}.png" for i in range(NUM)], ["cat"] * NUM)
    save_index(kind, folder, _rows(), items, "m")


def _read_index(place: Path) -> str:
    return _mark(*(_found(place / kind) for kind in ("flat", "ivf", "hnsw")))


def _found(folder: Path) -> str:
    found = Collection.load(folder)
    hits = found.search(_rows()[:20], 5)
    paths = [(str(found.path(row)), found.label(row)) for row in hits.rows.ravel()]
    return _mark(hits.ids, hits.cosines, found.vectors, paths, found.about)


def _make_on_disk(place: Path) -> None:
    _save_index(ON_DISK, place / "disk")


def _naive_lists(content: bytes) -> str:
    return _mark(np.frombuffer(content, np.uint8))


def _naive_index(content: bytes) -> str:
    found = faiss.deserialize_index(np.frombuffer(content, np.uint8))
    return _mark(*found.search(_rows()[:20], 5))


def _make_model(place: Path) -> None:
    bank, images = _bank(), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    component = {"_target_": "semcentres.encoder.small_conv", "_partial_": True, "width": 2}
    encoder = make_encoder(component, channels=1, bank=bank)
    view = {"_target_": "semcentres.views.RandomView", "translate": 0.1}
    bank.save(place / "centres.safetensors")
    save_model(place, encoder, component=component, bank=bank, images=images, data="toy", view=view)


def _read_model(place: Path) -> str:
    model = Model.load(place)
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    found = model.predict(images)
    return _mark(model.fingerprint, found.names, found.confidences, model.about, model.calibration)


def _safetensors(content: bytes) -> str:
    return _mark(*sorted((name, a.tobytes()) for name, a in load_safetensors(content).items()))


def _torch(content: bytes) -> str:
    return _mark(repr(torch.load(BytesIO(content), weights_only=True)))


def _npy(content: bytes) -> str:
    return _mark(np.load(BytesIO(content)))


KINDS = [
    Kind("bank", _make_bank, _read_bank, "bank.safetensors", _safetensors),
    Kind("checkpoint", _make_checkpoint, _read_checkpoint, "state.pt", _torch),
    Kind("embeddings", _make_embeddings, _read_embeddings, "part-00000.npy", _npy),
    Kind("index", _make_index, _read_index, "index.faiss", _naive_index),
    Kind("index on disk", _make_on_disk, lambda p: _found(p / "disk"), LISTS_NAME, _naive_lists),
    Kind("model", _make_model, _read_model, "model.safetensors", _safetensors),
]
