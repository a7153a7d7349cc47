"""How versions of embeddings, indexes, bundles and decoded images are written and read.

Of `writers.py`, which says what a version is.
"""

import tempfile
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from centre_builders.artefact import verify_folder
from centre_builders.embedded import COMPLETE, complete, read_embedded, write_part
from centre_builders.errors import CorruptArtefact
from centre_builders.items import make_items, write_items
from centre_builders.json_files import read_json
from semcentres.approximate import build_index
from semcentres.bundle import export
from semcentres.checkpoint import RunFolder
from semcentres.cli import main
from semcentres.collection import ITEMS, Collection, save_collection
from semcentres.data.decoded import PIXELS, _map, _write
from semcentres.index import Index
from semcentres.on_disk import save_on_disk
from semcentres.settings import ExportConfig
from semcentres.shards import Shard, Shards
from semcentres.training import read_results
from torture_figures.fault_world import SMALL, pictures
from torture_figures.forking import Child

if TYPE_CHECKING:
    import pyarrow as pa

Save = Callable[[Path, int], None]
Read = Callable[[Path], int]
NUM, WIDTH, SIDE = 120, 16, 8
ON_DISK = "on disk"


def _rows(version: int) -> np.ndarray:
    rows = np.random.default_rng(version).normal(size=(NUM, WIDTH)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


ROWS = make_items(np.arange(NUM), [None] * NUM, [None] * NUM)


def save_embeddings(folder: Path, version: int) -> None:
    """Write two parts, and that they are all."""
    for part, rows in enumerate(np.split(_rows(version), 2)):
        items = ROWS.slice(part * len(rows), len(rows))
        write_part(folder, part, rows, items, {"model": f"{version}", "rows": len(rows)})
    complete(folder, {"model": f"{version}"}, 2)


def read_embeddings(folder: Path) -> int:
    """Read them; those of which a part is to be made again are not there."""
    try:
        found = read_embedded(folder) if (folder / COMPLETE).exists() else None
    except CorruptArtefact as error:
        if "is missing; embed it again" not in str(error):
            raise
        found = None
    return 0 if found is None else _checked(int(found.about["model"]), found.vectors)


def _checked(version: int, rows: np.ndarray) -> int:
    if not np.array_equal(rows, _rows(version)):
        raise ValueError("another version's rows")
    return version


def save_index(kind: str, folder: Path, rows: np.ndarray, items: "pa.Table", model: str) -> None:
    """Write a collection by an index of a kind, or by one on the disk, of two shards."""
    if kind == ON_DISK:
        half = len(rows) // 2
        halves = [Shard(at, Index.over(rows[at : at + half])) for at in (0, half)]
        beside = lambda place: write_items(place / ITEMS, [items])  # noqa: E731
        save_on_disk(folder, Shards(halves, *rows.shape), {"model": model}, beside, recall=0.5)
    else:
        save_collection(folder, build_index(rows, kind=kind, recall=0.5), items, {"model": model})


def _save_index(kind: str, folder: Path, version: int) -> None:
    save_index(kind, folder / "index", _rows(version), ROWS, f"{version}")


def _read_index(folder: Path) -> int:
    if not (folder / "index").exists():
        return 0
    found = Collection.load(folder / "index")
    return _checked(int(found.model), found.vectors)


INDEXES: dict[str, tuple[Save, Read]] = {
    f"index, {kind}": (partial(_save_index, kind), _read_index)
    for kind in ("flat", "ivf", "hnsw", ON_DISK)
}


@cache
def make_run() -> Path:
    """Return the folder of a small run; it goes with this process."""
    place = tempfile.TemporaryDirectory(prefix="torture-")
    _kept.append(place)
    run = Path(place.name) / "run"
    pictures(Path(place.name) / "images")
    words = f"train {SMALL} force_temperature=true data.root={place.name}/images run_dir={run}"
    if Child(lambda _: _ended(words)).end(timeout=600)[0]:
        raise RuntimeError(f"this should have worked: {words}")
    return run


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _ended(words: str) -> None:
    raise SystemExit(main(words.split()))


def save_bundle(folder: Path, version: int) -> None:
    """Export a run, whose results are the version."""
    run = RunFolder(make_run())
    run.write_json("metrics.json", {**(read_results(run) or {}), "version": version})
    out = str(folder / "bundle")
    export(ExportConfig(run_dir=str(run.path), format="safetensors", out=out, num_images=2))


def read_bundle(folder: Path) -> int:
    """Read the results of one."""
    if not (folder / "bundle").exists():
        return 0
    verify_folder(folder / "bundle")
    return int(read_json(folder / "bundle" / "metrics.json", "a bundle's results")["version"])


@cache
def make_images() -> Path:
    """Return a folder that holds of each version 20 images, whose pixels are the version."""
    place = tempfile.TemporaryDirectory(prefix="torture-")
    _kept.append(place)
    for version, number in product((1, 2), range(20)):
        image = Image.new("L", (SIDE, SIDE), version)
        image.save(Path(place.name) / f"{version}-{number}.png")
    return Path(place.name)


SHAPE = (20, 1, SIDE, SIDE)


def save_pixels(folder: Path, version: int) -> None:
    """Write images that memory would not hold, through a map."""
    files = sorted(make_images().glob(f"{version}-*"))
    _write(folder / "pixels", files, SHAPE, 0.0)


def read_pixels(folder: Path) -> int:
    """Map them."""
    if not (folder / "pixels").exists():
        return 0
    verify_folder(folder / "pixels")
    found = _map(folder / "pixels" / PIXELS, SHAPE).unique().tolist()
    if len(found) != 1:
        raise ValueError(f"pixels of {found}")
    return int(found[0])
