"""Every kind of artefact: how version 1, 2, ... of it is written below a folder, and read again.

A reader returns the version that it finds, 0 where there is none, and raises where it is spoilt.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from centre_builders import build_bank
from centre_builders.artefact import verify_folder
from centre_builders.bank import CentreBank
from centre_builders.one_hot import OneHot
from semcentres.checkpoint import RunFolder
from semcentres.compose import compose_settings, load_config, save_config
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import split_labels
from semcentres.data.split_file import FILE, in_run_order, save_split
from semcentres.encoder import Encoder, small_conv
from semcentres.model import Model
from semcentres.training import read_results
from semcentres.weights import CENTRES, WEIGHTS, save_model
from torture_figures.forking import Child
from torture_figures.more_writers import (
    INDEXES,
    make_images,
    make_run,
    read_bundle,
    read_embeddings,
    read_pixels,
    save_bundle,
    save_embeddings,
    save_pixels,
)

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
        begin: done once in the process that forks the others, for what they share.
    """

    write: Callable[[Path, int], None]
    read: Callable[[Path], int]
    before: tuple[int, ...] = ()
    absent: bool = False
    begin: Callable[[], object] = bool

    @contextmanager
    def prepared(self) -> Iterator[tuple[Path, Path, int]]:
        """Give a folder with the versions before, another that is not there, the next version."""
        self.begin()
        with tempfile.TemporaryDirectory() as place:
            prepared = Path(place) / "prepared"
            prepared.mkdir()
            for version in self.before:
                # In a child: what has begun threads cannot be forked.
                code, told = Child(lambda _, v=version: self.write(prepared, v)).end(timeout=600)
                if code:
                    raise RuntimeError(f"version {version} is not written: {told}")
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


def _bank(version: int) -> CentreBank:
    return build_bank(OneHot(), [f"class {version} {number}" for number in range(100)])


def _save_bank(folder: Path, version: int) -> None:
    _bank(version).save(folder / "bank.safetensors")


def _read_bank(folder: Path) -> int:
    path = folder / "bank.safetensors"
    return int(CentreBank.load(path).names[0].split()[1]) if path.exists() else 0


@cache
def _config() -> Any:  # noqa: ANN401
    return compose_settings("train", [])


def _save_config(folder: Path, version: int) -> None:
    save_config(folder / "config.yaml", replace(_config(), seed=version))


def _read_config(folder: Path) -> int:
    path = folder / "config.yaml"
    return load_config(path).seed if path.exists() else 0


def _save_split(folder: Path, version: int) -> None:
    images = ImageSet(torch.arange(80, dtype=torch.uint8).view(20, 1, 2, 2), torch.arange(20) % 2)
    source = Source("s", (f"class {version}", "b"), images, images)
    save_split(folder, source, split_labels(source, labels_per_class=None))


def _read_split(folder: Path) -> int:
    """As a resumed run does, whose classes are in another order."""
    if not (folder / FILE).exists():
        return 0
    for version in (1, 2):
        images = ImageSet(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.arange(2))
        now = Source("s", ("b", f"class {version}"), images, images)
        if in_run_order(folder, now).class_names != now.class_names:
            return version
    raise ValueError("another version's classes")


def _save_results(folder: Path, version: int) -> None:
    RunFolder(folder).write_json("metrics.json", {"version": version})


def _read_results(folder: Path) -> int:
    found = read_results(RunFolder(folder))
    return 0 if found is None else int(found["version"])


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
    "first bank": Writer(_save_bank, _read_bank),
    "bank": Writer(_save_bank, _read_bank, (1,)),
    "configuration": Writer(_save_config, _read_config, (1,), begin=_config),
    "split": Writer(_save_split, _read_split, (1,)),
    "results": Writer(_save_results, _read_results, (1,)),
    "model": Writer(_save_model, _read_model, (1,)),
    **{name: Writer(*both, (1,)) for name, both in INDEXES.items()},
    "embeddings": Writer(save_embeddings, read_embeddings, (1,), absent=True),
    "bundle": Writer(save_bundle, read_bundle, (1,), begin=make_run),
    "pixels": Writer(save_pixels, read_pixels, (1,), begin=make_images),
}
NAIVE = Writer(_save_naively, _read_naively, (1,))


def allowed(writer: Writer) -> set[int]:
    """Return the versions that may be found after a write that was cut off."""
    old = max(writer.before, default=0)
    return {old, old + 1, *([0] if writer.absent else [])}
