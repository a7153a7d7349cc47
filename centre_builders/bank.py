"""The bank of centres: names, unit vectors and where they come from; one sealed file.

Dimensions: K centres, d width, n new centres.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.conditioning import Fitted
from centre_builders.errors import InputError, refused_unless
from centre_builders.geometry import Geometry, coinciding, describe
from centre_builders.sealed import load_sealed, save_sealed
from centre_builders.vocabulary import check_names, near

DESCRIBED = "bank"  # in the file: all but the arrays, as JSON
LONG = 1_000_000  # characters of it, above which it is an array: a file's header has an end


@dataclass(frozen=True, eq=False)
class CentreBank:
    """Class names and their unit vectors, checked once on entry.

    `building.build_bank` makes one; `changes.add`, `rename` and `retire` change one.

    Args:
        names: one a centre, unique after folding.
        vectors: float32, unit rows.
        provenance: builder, source, texts, seed, conditioning, versions, history; JSON. Texts
            that equal their name are left out.
        conditioning: the fitted steps that led to the vectors, for classes to come.
    """

    names: tuple[str, ...]
    vectors: Float[np.ndarray, "K d"]
    provenance: Mapping[str, Any]
    conditioning: tuple[Fitted, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names or vectors that no class can have.

        Raises:
            InputError: a name is bad or twice, a vector is not finite or not of length 1, or two
                centres coincide; the message names them.
        """
        check_names(self.names)
        if self.vectors.shape[0] != len(self.names) or self.vectors.dtype != np.float32:
            raise InputError(
                f"{len(self.names)} names need as many float32 rows, got"
                f" {self.vectors.dtype} {self.vectors.shape}"
            )
        squares = np.einsum("kd,kd->k", self.vectors, self.vectors, dtype=np.float64)
        bad = ~(np.abs(np.sqrt(squares) - 1) < 1e-4)
        if bad.any():
            row = int(bad.argmax())
            length = float(np.sqrt(squares[row]))
            raise InputError(f"the centre of {self.names[row]!r} has length {length}, not 1")
        pair = coinciding(self.vectors)
        if pair is not None:
            first, second = (self.names[row] for row in pair)
            raise InputError(
                f"{first!r} and {second!r} have the same centre; describe the classes"
                " apart, or take another builder"
            )

    @property
    def dimension(self) -> int:
        """Width d of the centres."""
        return int(self.vectors.shape[1])

    @property
    def texts(self) -> tuple[str, ...]:
        """What each name was resolved to."""
        texts = self.provenance.get("texts", {})
        return tuple(texts.get(name, name) for name in self.names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names, vectors and provenance: equal banks have equal ones."""
        digest = sha256(self._described().encode())
        digest.update(np.ascontiguousarray(self.vectors).data)
        return digest.hexdigest()

    @cached_property
    def _geometry(self) -> Geometry:
        return describe(self.vectors, self.names)

    def geometry(self) -> Geometry:
        """Return cosines, nearest pairs and the safe temperature; computed once."""
        return self._geometry

    def rows_of(self, names: Sequence[str]) -> list[int]:
        """Return the rows of these names.

        Raises:
            InputError: a name has no centre.
        """
        row = {name: i for i, name in enumerate(self.names)}
        lacking = [name for name in names if name not in row]
        if lacking:
            raise InputError(
                f"the bank has no centre for {', '.join(map(repr, lacking[:20]))}"
                f"{near(lacking[0], self.names)}; it has"
                f" {', '.join(map(repr, self.names[:20]))}{', …' if len(self.names) > 20 else ''}"
            )
        return [row[name] for name in names]

    def select(self, names: Sequence[str]) -> "CentreBank":
        """Return the bank of these names, in their order.

        Raises:
            InputError: a name has no centre.
        """
        if tuple(names) == self.names:
            return self
        rows = self.rows_of(names)
        texts = self.provenance.get("texts", {})
        provenance = {
            **self.provenance,
            "texts": {name: texts[name] for name in names if name in texts},
            "selected_from": self.fingerprint,
        }
        return replace(self, names=tuple(names), vectors=self.vectors[rows], provenance=provenance)

    def save(self, path: str | Path) -> None:
        """Write the bank to one safetensors file, whole or not at all."""
        tensors = {"centres": self.vectors}
        for place, step in enumerate(self.conditioning):
            arrays = {"offset": step.offset, "matrix": step.matrix}
            tensors |= {f"step{place}.{k}": a for k, a in arrays.items() if a is not None}
        described = self._described()
        metadata = {DESCRIBED: described}
        if len(described) > LONG:
            tensors[DESCRIBED] = np.frombuffer(described.encode(), np.uint8)
            metadata = {}
        save_sealed(Path(path), tensors, metadata)

    @classmethod
    def load(cls, path: str | Path, *, mapped: bool = False) -> "CentreBank":
        """Return the bank that a file holds, with every check made again.

        Args:
            path: of the file.
            mapped: whether the vectors stay in the file (see `sealed.load_sealed`).

        Raises:
            CorruptArtefact: the file is not as it was written.
            InputError: there is no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(
                f"{path} is not a file; build a bank with: semcentres centres out={path}"
            )
        tensors, metadata, _ = load_sealed(path, mapped=mapped)
        with refused_unless(path, "a bank of centres"):
            long = tensors.get(DESCRIBED)
            described = json.loads(metadata[DESCRIBED] if long is None else long.tobytes())
            steps = [
                Fitted(
                    step["step"],
                    step["dimension"],
                    step["facts"],
                    offset=tensors.get(f"step{place}.offset"),
                    matrix=tensors.get(f"step{place}.matrix"),
                )
                for place, step in enumerate(described["conditioning"])
            ]
            names, provenance = tuple(described["names"]), described["provenance"]
            bank = cls(names, tensors["centres"], provenance, tuple(steps))
            _check_stored(bank)
            return bank

    def _described(self) -> str:
        """Return all but the arrays as canonical JSON."""
        content = {
            "names": self.names,
            "provenance": self.provenance,
            "conditioning": [
                {"step": step.step, "dimension": step.dimension, "facts": step.facts}
                for step in self.conditioning
            ],
        }
        return json.dumps(content, sort_keys=True, ensure_ascii=False)


def _check_stored(bank: CentreBank) -> None:
    """Refuse what no bank holds, where it is read and not where it is used.

    Raises:
        TypeError: a text or the builder is of another kind.
        ValueError: the steps do not lead from one width to the next, and to that of the bank, or a
            text is no Unicode, such as half of a surrogate pair.
    """
    _ = bank.fingerprint  # computed now, and refused now
    texts, builder = bank.provenance.get("texts", {}), bank.provenance.get("builder", {})
    if not isinstance(builder, dict) or not all(isinstance(t, str) for t in texts.values()):
        raise TypeError("the builder is no mapping, or a class's text no text")
    width = None
    for step in bank.conditioning:
        for array, shape in ((step.offset, (width,)), (step.matrix, (width, step.dimension))):
            if array is not None and not _fits(array, shape):
                raise ValueError(f"step {step.step!r} has an array of shape {array.shape}")
        width = step.dimension
    if width not in (None, bank.dimension):
        raise ValueError(f"the steps end in {width} dimensions, the centres have {bank.dimension}")


def _fits(array: np.ndarray, shape: tuple[int | None, ...]) -> bool:
    sizes = zip(array.shape, shape, strict=False)
    return array.ndim == len(shape) and all(wanted in (None, size) for size, wanted in sizes)
