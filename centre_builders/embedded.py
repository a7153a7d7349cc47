"""Embedded images as files: which image each row is.

Dimensions: N images.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

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

    columns = {"id": pa.int64(), "path": pa.string(), "label": pa.string()}
    values = {"id": ids, "path": list(paths), "label": list(labels)}
    return pa.table(values, schema=pa.schema(columns))


def items_bytes(items: "pa.Table") -> bytes:
    """Return such a table as Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    buffer = pa.BufferOutputStream()
    parquet.write_table(items, buffer)
    return bytes(buffer.getvalue().to_pybytes())


def read_items(path: Path) -> "pa.Table":
    """Return the table in a file that has been verified."""
    from pyarrow import parquet

    return parquet.read_table(path)
