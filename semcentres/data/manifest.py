"""Your own images by a list: CSV or Parquet with the columns path, label and perhaps split.

path,label,split
shots/a.jpg,cat,train
shots/b.jpg,,train          an empty label: used without one
shots/c.jpg,sea lion,test
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from centre_builders.errors import InputError
from semcentres.data.files import FileSource, ImageFile, hold_out
from semcentres.data.source import UNLABELLED

COLUMNS = ("path", "label", "split")
SPLITS = ("train", "validation", "test")
Row = tuple[str, str, str]  # path, label, split


def manifest(
    *,
    file: str | None,
    size: int = 32,
    channels: int = 3,
    test_share: float = 0.2,
    max_unreadable: float = 0.01,
    seed: int = 0,
) -> FileSource:
    """Return the image files that a table lists; nothing of them is read yet.

    Where no row has a split, a share of each class is held out, as of a folder.

    Args:
        file: `.csv` (UTF-8, with a header) or `.parquet`. `path` is relative to the file, or
            absolute; an empty `label` means unlabelled; `split` is train, validation or test, and
            may be empty for rows without a label. Other columns are left alone.
        size: side in pixels; images are cropped to a centred square and resized.
        channels: 1 (grey) or 3 (RGB).
        test_share: share of each class's images that is held out, in (0, 1).
        max_unreadable: share of the files that may be unreadable, and are left out, in [0, 1).
        seed: of the choice of held-out images.

    Raises:
        InputError: the table cannot be read, or a row of it is wrong; it is named by its number.
    """
    if file is None:
        raise InputError(
            "data=manifest needs data.root=FILE.csv (or .parquet) with the columns path, label and"
            " perhaps split"
        )
    table = Path(file).expanduser()
    rows = _checked(table)
    classes = sorted(
        {label for _, label, split in rows.values() if label and split in ("train", "")}
    )
    number_of = {label: number for number, label in enumerate(classes)} | {"": UNLABELLED}
    files: dict[str, list[ImageFile]] = {split: [] for split in SPLITS}
    for place, (path, label, split) in rows.items():
        if label not in number_of:
            raise InputError(f"{place}: no training image has the label {label!r}; add one")
        listed = ImageFile(table.parent / path, path, number_of[label])
        files[split or "train"].append(listed)
    train, test = files["train"], files["test"]
    if not any(split for *_, split in rows.values()):
        unlabelled = [file for file in train if file.label == UNLABELLED]
        labelled = [file for file in train if file.label != UNLABELLED]
        train, test = hold_out(labelled, classes, share=test_share, seed=seed)
        train += unlabelled
    return FileSource(
        table.stem,
        tuple(classes),
        tuple(train),
        tuple(test),
        validation=tuple(files["validation"]),
        origin=str(table),
        size=size,
        channels=channels,
        max_unreadable=max_unreadable,
    )


def _checked(table: Path) -> dict[str, Row]:
    """Return the rows by what they are called in an error, each of them right by itself."""
    rows = {place: _row(place, cells) for place, cells in read_table(table, ("path", "label"))}
    has_splits = any(split for *_, split in rows.values())
    first: dict[str, str] = {}
    for place, (path, label, split) in rows.items():
        if path in first:
            raise InputError(f"{place}: {path} is in {first[path]} too; leave one of them out")
        first[path] = place
        if has_splits and label and not split:
            raise InputError(f"{place}: split is empty, other rows have one; set it")
    return rows


def _row(place: str, cells: Mapping[str, str]) -> Row:
    path, label, split = (cells[name] for name in COLUMNS)
    if split and split not in SPLITS:
        raise InputError(f"{place}: split {split!r} is none of {', '.join(SPLITS)}")
    if split in ("validation", "test") and not label:
        raise InputError(f"{place}: a {split} image needs a label; set it, or make split train")
    return path, label, split


def read_table(table: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every row's cells of `COLUMNS` with what the row is called: a CSV's line, or a number.

    Args:
        table: `.csv` or `.parquet`.
        needed: columns that it must have, `path` among them; a path is never empty.

    Raises:
        InputError: the table cannot be read, lacks a column, or a cell is wrong.
    """
    read = {".csv": _read_csv, ".parquet": _read_parquet}.get(table.suffix.lower())
    if read is None:
        raise InputError(f"{table} is no manifest; a manifest ends in .csv or .parquet")
    try:
        for place, cells in read(table, needed):
            yield place, _texts(place, cells)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} cannot be read ({error}); mend it") from error


def _texts(place: str, cells: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for name in COLUMNS:
        value = cells.get(name)
        if value is not None and not isinstance(value, str):
            raise InputError(
                f"{place}: {name} is {value!r}, of type {type(value).__name__}, not text; write a"
                " column of text"
            )
        texts[name] = (value or "").strip()
    if not texts["path"]:
        raise InputError(f"{place}: path is empty; name the image's file, or remove the row")
    return texts


def _read_csv(table: Path, needed: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        _check_columns(table, reader.fieldnames or (), needed)
        for cells in reader:
            place = f"{table} line {reader.line_num}"
            # More cells stand under None; cells that lack are None.
            if None in cells or None in cells.values():
                raise InputError(
                    f"{place} has not {len(reader.fieldnames or ())} cells like the header; quote"
                    " what holds a comma"
                )
            yield place, cells


def _read_parquet(table: Path, needed: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        content = parquet.read_table(table)
    except pa.ArrowInvalid as error:
        raise InputError(f"{table} is no Parquet file ({error}); write it again") from error
    _check_columns(table, content.column_names, needed)
    names = [name for name in COLUMNS if name in content.column_names]
    for number, cells in enumerate(content.select(names).to_pylist(), 1):
        yield f"{table} row {number}", cells


def _check_columns(table: Path, found: Sequence[str], needed: Sequence[str]) -> None:
    lacking = [name for name in needed if name not in found]
    if lacking:
        raise InputError(
            f"{table} has no column {' and no column '.join(lacking)}; it has {', '.join(found)}"
        )
