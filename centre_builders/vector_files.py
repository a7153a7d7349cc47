"""Files of vectors with names: npy, safetensors, csv, parquet; checked, never unpickled."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.errors import InputError, refused_unless
from centre_builders.sphere import BLOCK

Named = tuple[Sequence[str], Float[np.ndarray, "N D"]]


def read_named_vectors(path: Path, names_path: str | None = None) -> Named:
    """Return names and vectors of a file; float32 files of .npy stay on disk until they are used.

    Raises:
        InputError: the file is malformed, holds a number that is not finite or a zero row, or
            has not one name a row; the message says where.
    """
    readers = {
        ".npy": _read_npy, ".safetensors": _read_safetensors,
        ".csv": _read_csv, ".parquet": _read_parquet,
    }  # fmt: skip
    if path.suffix not in readers:
        raise InputError(f"{path} is none of {', '.join(readers)}; convert it to one of them")
    with refused_unless(path, f"a {path.suffix} file of vectors"):
        own_names, vectors = readers[path.suffix](path)
    names = own_names if names_path is None else _read_lines(Path(names_path).expanduser())
    if names is None:
        raise InputError(f"{path} holds no names; give them, one a line, by builder.names_path")
    _check(path, names, vectors)
    return names, vectors


def _read_npy(path: Path) -> tuple[None, np.ndarray]:
    # Not np.load, which would take what a zip file holds.
    return None, np.lib.format.open_memmap(path, mode="r")


def _read_safetensors(path: Path) -> tuple[Any, np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        if "centres" not in file.keys():  # noqa: SIM118
            raise InputError("it has no tensor named centres")
        names = json.loads((file.metadata() or {}).get("names", "null"))
        return names, file.get_tensor("centres")


def _read_csv(path: Path) -> tuple[Sequence[str], np.ndarray]:
    names: list[str] = []
    rows: list[np.ndarray] = []
    # Spreadsheets write a byte order mark.
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            # pandas numbers the columns, so a header may look like a row.
            if not row or (number == 1 and row[0].strip().lower() in ("", "name")):
                continue
            try:
                values = np.array(row[1:], dtype=np.float64)
            except ValueError as error:
                # A header has no number at all; a row with one has a slip of the pen.
                if number == 1 and not any(map(_is_number, row[1:])):
                    continue
                raise InputError(
                    f"{path}:{number} holds what is no number ({error}); mend it"
                ) from error
            if rows and len(values) != len(rows[0]):
                raise InputError(
                    f"{path}:{number} has {len(values)} numbers, wanted {len(rows[0])}; mend it"
                )
            names.append(row[0])
            rows.append(values)
    return names, np.array(rows, dtype=np.float64, ndmin=2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> tuple[Sequence[Any], np.ndarray]:
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(path)
    if "name" not in table.column_names:
        raise InputError(f"{path} has no column 'name'; it has {', '.join(table.column_names)}")
    # pandas keeps its row numbers as a column of that name.
    kept = [n for n in table.column_names if n != "name" and not n.startswith("__index")]
    columns = [table.column(name) for name in kept]
    lists = len(columns) == 1 and pyarrow.types.is_nested(columns[0].type)
    values = columns[0].to_pylist() if lists else list(zip(*columns, strict=True))
    vectors = np.array(values, dtype=np.float64)
    return table.column("name").to_pylist(), vectors.reshape(len(values), -1)


def _read_lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as names, one a line ({error})") from error


def _check(path: Path, names: Sequence[object], vectors: np.ndarray) -> None:
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        raise InputError(
            f"{path} holds {vectors.dtype} of shape {vectors.shape}; wanted floats [rows, columns]"
        )
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: the names must be a list of texts, one a row")
    if len(names) != len(vectors):
        raise InputError(f"{path} has {len(vectors)} rows for {len(names)} names; give each one")
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK], dtype=np.float64)
        bad = ~(np.linalg.norm(block, axis=1) > 1e-12) | ~np.isfinite(block).all(axis=1)
        if bad.any():
            row = start + int(bad.argmax())
            raise InputError(
                f"{path}: the vector of {names[row]!r} (row {row}) is zero or not finite; mend it"
            )
