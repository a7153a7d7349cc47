"""Centres from a file of vectors with names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

import numpy as np
from jaxtyping import Float

from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.vector_files import read_named_vectors
from centre_builders.vocabulary import fold, near


@dataclass(frozen=True, kw_only=True)
class FromFile:
    """Vectors that were made elsewhere, found by the class's name (after folding).

    Args:
        path: .npy, with the names in `names_path`; .safetensors with a tensor "centres" and the
            names in `names_path` or, as a JSON list, in the metadata under "names"; .csv with
            the name in the first column; .parquet with a column "name" and numeric columns or
            one column of lists. A bank of centres is read by centres=bank and not here.
        names_path: a text file with a name a line, in the rows' order.
        shares_mean: whether the vectors come from text, so that their mean is to be removed.
    """

    path: str
    names_path: str | None = None
    shares_mean: bool = False

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the file's rows of these names; neither seed nor descriptions are used.

        Raises:
            InputError: the file is missing or malformed, or lacks a name; the message says which.
        """
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise InputError(f"{path} is not a file; set centres.builder.path to vectors")
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        known, vectors = read_named_vectors(path, self.names_path)
        return RawCentres(
            _rows(path, known, vectors, names),
            tuple(names),
            {"vectors": path.name, "sha256": digest},
            shares_mean=self.shares_mean,
            independent=True,
        )


def _rows(
    path: Path, known: Sequence[str], vectors: Float[np.ndarray, "N D"], names: Sequence[str]
) -> Float[np.ndarray, "K D"]:
    if tuple(known) == tuple(names):
        return vectors  # not a copy: there may be a million
    row: dict[str, int] = {}
    for number, name in enumerate(known):
        if row.setdefault(fold(name), number) != number:
            raise InputError(f"{path} gives {name!r} twice; remove one")
    lacking = [name for name in names if fold(name) not in row]
    if lacking:
        raise InputError(
            f"{path} has no vector for {', '.join(map(repr, lacking[:10]))}"
            f"{near(lacking[0], known)}; add it, or rename the class"
        )
    return vectors[[row[fold(name)] for name in names]]
