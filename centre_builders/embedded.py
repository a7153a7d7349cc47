"""Embedded images as files: row-aligned parts, of which each is there whole or not at all.

    part-00000.npy       float32 [n D], unit rows
    part-00000.parquet   which image each row is: id, path, label
    part-00000.done      hashes of the two, the model's fingerprint, what was asked; written last
    embeddings.json      number of parts and rows; written when all parts are there

Dimensions: N images, n of a part, D embedding width.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64

from centre_builders.artefact import describe_file, write_file, write_json
from centre_builders.errors import CorruptArtefact, InputError, refused_unless
from centre_builders.json_files import read_json, sealed, unsealed

if TYPE_CHECKING:
    import pyarrow as pa

COMPLETE = "embeddings.json"


@dataclass(frozen=True, eq=False)
class Embedded:
    """Images that a model has embedded.

    Args:
        vectors: unit rows.
        items: which image each row is, as of `make_items`.
        about: `model`, the fingerprint of the model; `split` and `data` where the images are a
            run's own.
    """

    vectors: Float32[np.ndarray, "N D"]
    items: "pa.Table"
    about: Mapping[str, Any]


def make_items(
    ids: Int64[np.ndarray, " N"], paths: Sequence[str | None], labels: Sequence[str | None]
) -> "pa.Table":
    """Return a table of images, one a row.

    Args:
        ids: of each image, its place in what was embedded.
        paths: of its file; None where it is none.
        labels: name of its class; None where it is not known.
    """
    import pyarrow as pa

    values = {"id": ids, "path": list(paths), "label": list(labels)}
    return pa.table(values, schema=_schema())


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema({"id": pa.int64(), "path": pa.string(), "label": pa.string()})


def items_bytes(items: "pa.Table") -> bytes:
    """Return such a table as Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    buffer = pa.BufferOutputStream()
    parquet.write_table(items, buffer)
    return bytes(buffer.getvalue().to_pybytes())


def read_items(path: Path, num: int) -> "pa.Table":
    """Return the table in a file that has been verified.

    Args:
        path: of the file.
        num: rows that it must have; a file of a few bytes may promise billions.

    Raises:
        CorruptArtefact: it is no such table.
    """
    from pyarrow import parquet

    with refused_unless(path, "a table of images"), parquet.ParquetFile(path) as file:
        if file.metadata.num_rows != num:
            raise ValueError(f"it names {file.metadata.num_rows} images of {num}")
        if not file.schema_arrow.equals(_schema()):
            raise TypeError(f"its columns are {file.schema_arrow.names}, or of other types")
        items = file.read(use_threads=False)
        items.validate(full=True)
        if len(items) != num or items["id"].null_count:
            raise ValueError("an image has no id")
        return items


def write_part(
    folder: Path,
    number: int,
    vectors: Float32[np.ndarray, "n D"],
    items: "pa.Table",
    about: Mapping[str, Any],
) -> None:
    """Write a part, whole or, for every reader, not at all; `about` is what `read_done` returns."""
    buffer = BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    done = _done(folder, number)
    # A part that is written anew is not there until it is whole.
    done.unlink(missing_ok=True)
    rows, table = _files(folder, number)
    write_file(rows, buffer.getbuffer())
    write_file(table, items_bytes(items))
    files = {path.name: describe_file(path) for path in (rows, table)}
    write_json(done, sealed({"about": dict(about), "files": files}))


def read_done(folder: Path, number: int) -> dict[str, Any] | None:
    """Return what a part was made of, after its files were verified; None where it is not there.

    Raises:
        CorruptArtefact: a file is not what was written.
    """
    done = _done(folder, number)
    if not done.exists():
        return None
    content = _read_json(done)
    with refused_unless(done, "what embed wrote"):
        for path in _files(folder, number):
            if describe_file(path) != content["files"].get(path.name):
                raise CorruptArtefact(
                    f"{path} differs from its SHA-256 in {done.name}; embed it again"
                )
        return dict(content["about"])


def complete(folder: Path, about: Mapping[str, Any], num_parts: int) -> int:
    """Say that all parts are there, remove those of an earlier, larger set, and count the rows."""
    for path in folder.glob("part-*"):
        number = path.stem.partition("-")[2]
        if number.isdigit() and int(number) >= num_parts:
            path.unlink()
    parts = [_read_json(_done(folder, number))["about"] for number in range(num_parts)]
    rows = sum(int(part["rows"]) for part in parts)
    content = {"about": dict(about), "parts": num_parts, "rows": rows}
    path, text = folder / COMPLETE, (json.dumps(sealed(content), indent=2) + "\n").encode()
    # What is there may be damaged, and is not parsed.
    if not path.is_file() or path.read_bytes() != text:
        write_file(path, text)
    return rows


def read_embedded(folder: str | Path) -> Embedded:
    """Return what `semcentres embed` wrote.

    Raises:
        InputError: the folder is none, or embedding it was not finished.
        CorruptArtefact: a file is not what was written.
    """
    place = Path(folder).expanduser()
    path = place / COMPLETE
    if not path.is_file():
        raise InputError(
            f"{place} holds no {COMPLETE}: no images were embedded into it, or not all yet;"
            f" run: semcentres embed run_dir=RUN out={place}"
        )
    with refused_unless(path, "what embed wrote"):
        return _read_parts(place, _read_json(path))


def _read_parts(place: Path, content: Mapping[str, Any]) -> Embedded:
    import pyarrow as pa

    parts, tables = [], []
    for number in range(content["parts"]):
        made = read_done(place, number)
        if made is None or made["model"] != content["about"]["model"]:
            raise CorruptArtefact(f"part {number} of {place} is missing; embed it again")
        rows, table = _files(place, number)
        # Mapped: the rows are read when they are put together, once.
        parts.append(_check_part(rows, np.load(rows, mmap_mode="r", allow_pickle=False)))
        tables.append(read_items(table, len(parts[-1])))
    if not parts or sum(map(len, parts)) != content["rows"]:
        raise CorruptArtefact(f"{place} has not {content['rows']} rows; embed it again")
    return Embedded(np.concatenate(parts), pa.concat_tables(tables), dict(content["about"]))


def _check_part(path: Path, rows: np.ndarray) -> np.ndarray:
    if rows.dtype != np.float32 or rows.ndim != 2:
        raise CorruptArtefact(
            f"{path} holds {rows.dtype} of shape {rows.shape}, wanted float32 [rows, columns];"
            " embed it again"
        )
    return rows


def _done(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.done"


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    done = _done(folder, number)
    return done.with_suffix(".npy"), done.with_suffix(".parquet")


def _read_json(path: Path) -> dict[str, Any]:
    with refused_unless(path, "what embed wrote"):
        return unsealed(read_json(path, "what embed wrote"))
