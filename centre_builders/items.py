"""Which image each row of embeddings is: a table of id, path and label, as Parquet.

Dimensions: N images.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from centre_builders.errors import refused_unless

if TYPE_CHECKING:
    import pyarrow as pa


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
    buffer = BytesIO()
    write_items(buffer, [items])
    return buffer.getvalue()


def write_items(file: Path | BytesIO, tables: Iterable["pa.Table"]) -> None:
    """Write such tables one below the other as Parquet, one of them in memory at a time."""
    from pyarrow import parquet

    with parquet.ParquetWriter(file, _schema()) as writer:
        for table in tables:
            writer.write_table(table)


def read_items(path: Path, num: int) -> "pa.Table":
    """Return the table in a file that has been verified.

    Args:
        path: of the file.
        num: rows that it must have; a file of a few bytes may promise billions.

    Raises:
        CorruptArtefact: it is no such table.
    """
    import pyarrow
    from pyarrow import parquet

    with refused_unless(path, "a table of images"), parquet.ParquetFile(path) as file:
        if file.metadata.num_rows != num:
            raise ValueError(f"it names {file.metadata.num_rows} images of {num}")
        if not file.schema_arrow.equals(_schema()):
            raise TypeError(f"its columns are {file.schema_arrow.names}, or of other types")
        items = file.read(use_threads=False)
        pyarrow.default_memory_pool().release_unused()  # more than the table itself
        items.validate(full=True)
        if len(items) != num or items["id"].null_count:
            raise ValueError("an image has no id")
        return items
