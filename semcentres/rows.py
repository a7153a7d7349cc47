"""Rows of results, equal keys in each, as CSV that a spreadsheet may open."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

UNSAFE = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for a formula

Row = Mapping[str, Any]


def to_csv(rows: Sequence[Row]) -> str:
    """Return the rows with a heading; a text that a spreadsheet would compute gets a '.

    Args:
        rows: at least one.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return file.getvalue()


def _cell(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"'{value}" if isinstance(value, str) and value.startswith(UNSAFE) else value
