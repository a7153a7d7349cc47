"""Which image files are meant: folders, files, or a table of paths and labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from centre_builders.errors import InputError
from centre_builders.vocabulary import fold
from semcentres.data.manifest import read_table
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
    for given in places if isinstance(places, list) else [places]:
        # A folder called 2024 comes as a number.
        place = Path(str(given)).expanduser()
        if place.suffix.lower() in TABLES and place.is_file():
            listed += _of_table(place)
        else:
            found = find_images([place])
            listed += [(path, known.get(fold(path.parent.name))) for path in found]
    return listed


def _of_table(place: Path) -> list[Listed]:
    rows = [cells for _, cells in read_table(place, ["path"])]
    if not rows:
        raise InputError(f"{place} lists no images")
    return [(place.parent / cells["path"], cells["label"] or None) for cells in rows]
