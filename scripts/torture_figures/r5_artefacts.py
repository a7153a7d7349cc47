"""R5: artefacts of five kinds, changed at random, are refused or give what they gave.

One trial is one changed file. As many again are changed by somebody who can compute hashes: these
may give something else, for whoever wrote a file may write another, but break nothing.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# torch comes first: both bring an OpenMP of their own.
import torch  # isort: skip
import faiss
import numpy as np
import pyarrow.parquet  # noqa: F401  # here, and not again in every child
from safetensors.numpy import load as load_safetensors

from centre_builders import json_files
from centre_builders.artefact import MANIFEST, describe_file
from centre_builders.bank import CentreBank
from centre_builders.building import build_bank
from centre_builders.embedded import COMPLETE, complete, read_embedded, write_part
from centre_builders.items import make_items
from centre_builders.one_hot import OneHot
from centre_builders.sealed import BLANK, SEAL
from semcentres.approximate import build_index
from semcentres.checkpoint import RunFolder
from semcentres.collection import Collection, save_collection
from semcentres.model import Model
from semcentres.weights import make_encoder, save_model
from torture_figures.mutating import mutate
from torture_figures.sandbox import BAD, answer_of, in_child, outcomes

NUM, WIDTH = 300, 8
BROKEN = ("uncaught", "executed", "crash", "hang")  # also of a file with right hashes
GOAL = (
    "of changed files of 5 kinds: 0 crashes, hangs, code run, uncaught or unnamed, 0 silently"
    " different; with hashes computed anew: 0 crashes, hangs, code run or uncaught"
)


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return what `trials` changed files do, and as many again with hashes computed anew."""
    torch.set_num_threads(1)
    torch.set_printoptions(profile="full", precision=9)  # a state is compared as text
    faiss.omp_set_num_threads(1)
    with TemporaryDirectory(prefix="torture-") as folder:
        in_child(partial(_make_all, Path(folder)))
        found = {
            kind.name: _attack(kind, Path(folder) / kind.name, max(1, trials // len(KINDS)), seed)
            for kind in KINDS
        }
    measured = {name: {k: v for k, v in one.items() if k != "naive"} for name, one in found.items()}
    naive = {name: one["naive"] for name, one in found.items()}
    sound = all(
        not set(one["changed"]) & set(BAD) and not set(one["with new hashes"]) & set(BROKEN)
        for one in found.values()
    )
    toothed = sum(one.get("different", 0) for one in naive.values()) > 0
    return {"goal": GOAL, "measured": measured, "naive": naive, "passed": sound and toothed}


@dataclass(frozen=True)
class Kind:
    """A kind of artefact: how it is made and read, and how one of its files usually is."""

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], str]
    file: str
    naive: Callable[[bytes], str]


def _attack(kind: Kind, original: Path, num: int, seed: int) -> dict[str, Any]:
    """Return the outcomes of changed files: as they are, with new hashes, read naively."""

    def trial(number: int, place: Path, *, hashes: bool) -> str:
        rng = np.random.default_rng([seed, number])
        there = Path(shutil.copytree(original, place / "there"))
        files = sorted(p for p in there.rglob("*") if p.is_file())
        _spoil(files[rng.integers(len(files))], rng, hashes=hashes)
        if hashes:
            _hash_anew(there)
        return kind.read(there)

    content = next(original.rglob(kind.file)).read_bytes()

    def naive(number: int, _place: Path) -> str:
        return kind.naive(mutate(content, np.random.default_rng([seed, number])))

    wanted = answer_of(lambda _number, _place: kind.read(original))
    usual = answer_of(lambda _number, _place: kind.naive(content))
    return {
        "changed": outcomes(partial(trial, hashes=False), num, wanted),
        "with new hashes": outcomes(partial(trial, hashes=True), num, wanted, BROKEN),
        "naive": outcomes(naive, max(20, num // 10), usual, ()),
    }


def _spoil(file: Path, rng: np.random.Generator, *, hashes: bool) -> None:
    """Change a file; one that is sealed keeps a right seal, if hashes are computed anew."""
    content = file.read_bytes()
    if not (hashes and SEAL in content):
        file.write_bytes(mutate(content, rng))
        return
    before, _, after = content.partition(SEAL)
    blank = mutate(before + SEAL + BLANK + after[64:], rng)
    seal = sha256(blank).hexdigest().encode()
    file.write_bytes(blank.replace(SEAL + BLANK, SEAL + seal, 1))


def _hash_anew(folder: Path) -> None:
    """Write the hashes of the files as they are now into what lists them."""
    for listed in (p for name in (MANIFEST, "*.done", COMPLETE) for p in folder.rglob(name)):
        try:
            content = json.loads(listed.read_text())
            if "files" in content:
                names = content["files"]
                content["files"] = {name: describe_file(listed.parent / name) for name in names}
            if content.pop(json_files.SEAL, None):
                content = json_files.sealed(content)
            listed.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # It was what was changed.


def _make_all(folder: Path) -> None:
    for kind in KINDS:
        (folder / kind.name).mkdir()
        kind.make(folder / kind.name)


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
    items = make_items(np.arange(NUM), [f"{i}.png" for i in range(NUM)], ["cat"] * NUM)
    for kind in ("flat", "ivf", "hnsw"):
        index = build_index(_rows(), kind=kind, recall=0.5)
        save_collection(place / kind, index, items, {"model": "m"})


def _read_index(place: Path) -> str:
    read = []
    for kind in ("flat", "ivf", "hnsw"):
        found = Collection.load(place / kind)
        hits = found.search(_rows()[:20], 5)
        paths = [(str(found.path(row)), found.label(row)) for row in hits.rows.ravel()]
        read.append(_mark(hits.ids, hits.cosines, found.vectors, paths, found.about))
    return _mark(*read)


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
    Kind("model", _make_model, _read_model, "model.safetensors", _safetensors),
]
