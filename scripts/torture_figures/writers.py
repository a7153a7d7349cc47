"""Every kind of artefact: how version 1, 2, ... of it is written below a folder, and read again.

A reader returns the version that it finds, 0 where there is none, and raises where it is spoilt.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from centre_builders import build_bank
from centre_builders.artefact import verify_folder
from centre_builders.bank import CentreBank
from centre_builders.embedded import read_done, write_part
from centre_builders.items import make_items
from centre_builders.one_hot import OneHot
from semcentres.checkpoint import RunFolder
from semcentres.encoder import Encoder, small_conv
from semcentres.index import Index
from semcentres.model import Model
from semcentres.weights import CENTRES, WEIGHTS, save_model

BACKBONE = {"_target_": "semcentres.encoder.small_conv", "_partial_": True, "width": 8}
LARGE = 40_000  # numbers, so that files are longer than any buffer


@dataclass(frozen=True)
class Writer:
    """One kind of artefact.

    Args:
        write: folder and version.
        read: folder.
        before: versions that are there before the next is written.
        absent: whether it may be gone after a failed write, as what can be made again may.
    """

    write: Callable[[Path, int], None]
    read: Callable[[Path], int]
    before: tuple[int, ...] = ()
    absent: bool = False

    @contextmanager
    def prepared(self) -> Iterator[tuple[Path, Path, int]]:
        """Give a folder with the versions before, another that is not there, the next version."""
        with tempfile.TemporaryDirectory() as place:
            prepared = Path(place) / "prepared"
            prepared.mkdir()
            for version in self.before:
                self.write(prepared, version)
            yield prepared, Path(place) / "folder", max(self.before, default=0) + 1


def _save_checkpoint(folder: Path, version: int) -> None:
    state = {"version": torch.full((LARGE,), float(version))}
    RunFolder(folder).save_checkpoint(state, step=version, about={})


def _save_same_step(folder: Path, version: int) -> None:
    state = {"version": torch.full((LARGE,), float(version))}
    RunFolder(folder).save_checkpoint(state, step=7, about={})


def _read_checkpoint(folder: Path) -> int:
    found = RunFolder(folder).newest_checkpoint({})
    return 0 if found is None else int(found[1]["version"][-1])


def _rows(version: int) -> np.ndarray:
    return np.roll(np.eye(100, dtype=np.float32), version, axis=1)


def _bank(version: int) -> CentreBank:
    return build_bank(OneHot(), [f"class {version} {number}" for number in range(100)])


def _read_bank(folder: Path) -> int:
    path = folder / "bank.safetensors"
    return int(CentreBank.load(path).names[0].split()[1]) if path.exists() else 0


def _save_index(folder: Path, version: int) -> None:
    Index.build(_rows(version)).save(folder / "index", {"version": version})


def _read_index(folder: Path) -> int:
    if not (folder / "index").exists():
        return 0
    version = int(verify_folder(folder / "index")["about"]["version"])
    if not np.array_equal(Index.load(folder / "index").vectors, _rows(version)):
        raise ValueError("another version's rows")
    return version


def _save_part(folder: Path, version: int) -> None:
    items = make_items(np.arange(100), [None] * 100, [None] * 100)
    write_part(folder, 0, _rows(version), items, {"version": version})


def _read_part(folder: Path) -> int:
    done = read_done(folder, 0)
    return 0 if done is None else int(done["version"])


def _save_model(folder: Path, version: int) -> None:
    bank, images = _bank(version), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    encoder = Encoder(small_conv(channels=1, dimension=100, width=8), mean=[0.0], std=[1.0])
    with torch.no_grad():
        next(encoder.parameters()).fill_(version)
    place = folder / "saved"
    if version > 1:
        Model.load(folder / "model")
    save_model(place, encoder, component=BACKBONE, bank=bank, images=images, data="d")
    bank.save(place / CENTRES)
    Model.load(place).save(folder / "model")
    (place / WEIGHTS).unlink()
    (place / CENTRES).unlink()


def _read_model(folder: Path) -> int:
    if not (folder / "model").exists():
        return 0
    verify_folder(folder / "model")
    return int(next(Model.load(folder / "model").encoder.parameters()).flatten()[0])


def _save_naively(folder: Path, version: int) -> None:
    torch.save({"version": torch.full((LARGE,), float(version))}, folder / "last.pt")


def _read_naively(folder: Path) -> int:
    path = folder / "last.pt"
    return int(torch.load(path, weights_only=True)["version"][-1]) if path.exists() else 0


WRITERS = {
    "first checkpoint": Writer(_save_checkpoint, _read_checkpoint),
    "checkpoint, overwritten": Writer(_save_same_step, _read_checkpoint, (1,)),
    "checkpoint, oldest removed": Writer(_save_checkpoint, _read_checkpoint, (1, 2)),
    "first bank": Writer(lambda f, v: _bank(v).save(f / "bank.safetensors"), _read_bank),
    "bank": Writer(lambda f, v: _bank(v).save(f / "bank.safetensors"), _read_bank, (1,)),
    "index": Writer(_save_index, _read_index, (1,)),
    "embeddings": Writer(_save_part, _read_part, (1,), absent=True),
    "model": Writer(_save_model, _read_model, (1,)),
}
NAIVE = Writer(_save_naively, _read_naively, (1,))


def allowed(writer: Writer) -> set[int]:
    """Return the versions that may be found after a write that was cut off."""
    old = max(writer.before, default=0)
    return {old, old + 1, *([0] if writer.absent else [])}
