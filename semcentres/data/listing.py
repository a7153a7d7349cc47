"""Which image files are meant: folders, files, or a table of paths and labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from centre_builders.errors import InputError
from centre_builders.vocabulary import fold
from semcentres.data.readable import find_images

TABLES = {".csv", ".parquet"}
Listed = tuple[Path, str | None]


def list_images(places: Any, class_names: Sequence[str]) -> list[Listed]:  # noqa: ANN401
    """Return image files, each with the name of its class where that is known.

    Args:
        places: a file, a folder, a table, or a list of them. A table is a .csv or .parquet with a
            column `path`, relative to the table, and perhaps a column `label`.
        class_names: a file in a folder that is called like one of them is taken for one of it.

    Raises:
        InputError: a place is not there, holds no image, or is not such a table.
    """
    listed: list[Listed] = []
    known = {fold(name): name for name in class_names}
    for place in [Path(p).expanduser() for p in (places if isinstance(places, list) else [places])]:
        if place.suffix.lower() in TABLES and place.is_file():
            listed += _of_table(place)
        else:
            found = find_images([place])
            listed += [(path, known.get(fold(path.parent.name))) for path in found]
    return listed


def _of_table(place: Path) -> list[Listed]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    text = {"path": pa.string(), "label": pa.string()}
    try:
        if place.suffix.lower() == ".csv":
            options = csv.ConvertOptions(column_types=text, strings_can_be_null=True)
            table = csv.read_csv(place, convert_options=options)
        else:
            table = parquet.read_table(place)
        paths = table["path"].to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(
            f"{place} is no table with a column path ({error}); give path,label"
        ) from error
    if not paths:
        raise InputError(f"{place} lists no images")
    if None in paths or "" in paths:
        row = next(i for i, path in enumerate(paths) if not path)
        raise InputError(f"{place}, row {row + 1} has no path; fill it in or remove the row")
    labels = table["label"].to_pylist() if "label" in table.column_names else [None] * len(paths)
    return [
        (place.parent / str(path), None if label in (None, "") else str(label))
        for path, label in zip(paths, labels, strict=True)
    ]
