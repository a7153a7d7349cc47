"""The bank of centres: names, unit vectors and where they come from; one sealed file.

Dimensions: K centres, d width.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.artefact import load_sealed, save_sealed
from centre_builders.conditioning import condition
from centre_builders.errors import CorruptArtefact, InputError
from centre_builders.geometry import Geometry, describe, nearest_pairs
from centre_builders.protocol import CentreBuilder
from centre_builders.vocabulary import check_names

LIBRARIES = ("semcentres", "numpy", "gensim", "sentence-transformers")
SAME = 1 - 1e-6


@dataclass(frozen=True, eq=False)
class CentreBank:
    """Class names and their unit vectors, checked once on entry.

    Args:
        names: one a centre, unique after folding.
        vectors: float32, unit rows.
        provenance: builder, options, source, texts, seed, conditioning, versions; JSON.
    """

    names: tuple[str, ...]
    vectors: Float[np.ndarray, "K d"]
    provenance: Mapping[str, Any]

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
        lengths = np.linalg.norm(self.vectors.astype(np.float64), axis=1)
        bad = ~(np.abs(lengths - 1) < 1e-4)
        if bad.any():
            row = int(bad.argmax())
            raise InputError(f"the centre of {self.names[row]!r} has length {lengths[row]}, not 1")
        _check_apart(self.names, self.vectors)

    @property
    def dimension(self) -> int:
        """Width d of the centres."""
        return int(self.vectors.shape[1])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names, vectors and provenance: equal banks have equal ones."""
        digest = sha256(self._described().encode())
        digest.update(np.ascontiguousarray(self.vectors).tobytes())
        return digest.hexdigest()

    @cached_property
    def _geometry(self) -> Geometry:
        return describe(self.vectors, self.names)

    def geometry(self) -> Geometry:
        """Return cosines, nearest pairs and the safe temperature; computed once."""
        return self._geometry

    def select(self, names: Sequence[str]) -> "CentreBank":
        """Return the bank of these names, in their order.

        Raises:
            InputError: a name has no centre.
        """
        if tuple(names) == self.names:
            return self
        row = {name: i for i, name in enumerate(self.names)}
        lacking = [name for name in names if name not in row]
        if lacking:
            raise InputError(f"the bank has no centre for {', '.join(map(repr, lacking))}")
        rows = [row[name] for name in names]
        texts = self.provenance.get("texts", {})
        provenance = {
            **self.provenance,
            "texts": {name: texts[name] for name in names if name in texts},
            "selected_from": self.fingerprint,
        }
        return replace(self, names=tuple(names), vectors=self.vectors[rows], provenance=provenance)

    def save(self, path: str | Path) -> None:
        """Write the bank to one safetensors file, whole or not at all."""
        save_sealed(Path(path), {"centres": self.vectors}, {"bank": self._described()})

    @classmethod
    def load(cls, path: str | Path) -> "CentreBank":
        """Return the bank that a file holds, with every check made again.

        Raises:
            CorruptArtefact: the file is not as it was written.
            InputError: there is no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(
                f"{path} is not a file; build a bank with: semcentres centres out={path}"
            )
        tensors, metadata, _ = load_sealed(path)
        try:
            described = json.loads(metadata["bank"])
            names, provenance = tuple(described["names"]), described["provenance"]
            return cls(names, tensors["centres"], provenance)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise CorruptArtefact(f"{path} is not a bank of centres ({error!r})") from error

    def _described(self) -> str:
        """Return names and provenance as canonical JSON."""
        content = {"names": self.names, "provenance": self.provenance}
        return json.dumps(content, sort_keys=True, ensure_ascii=False)


def build_bank(
    builder: CentreBuilder,
    names: Sequence[str],
    *,
    seed: int = 0,
    dimension: int | None = None,
    remove_mean: bool | None = None,
) -> CentreBank:
    """Return the bank of the names: build, condition, check.

    Args:
        builder: names to raw vectors.
        names: class names, each once.
        seed: of the builder's draws.
        dimension: width of the centres; None keeps the builder's.
        remove_mean: None removes it where the builder's vectors share one (text).
    """
    names = check_names(names)
    raw = builder.build(names, seed=seed)
    remove = raw.shares_mean if remove_mean is None else remove_mean
    vectors, steps = condition(raw, names, remove_mean=remove, dimension=dimension)
    kind = type(builder)
    provenance = {
        "builder": f"{kind.__module__}.{kind.__qualname__}",
        "options": json.loads(json.dumps(asdict(builder))),  # type: ignore[call-overload]
        "source": dict(raw.source),
        "texts": dict(zip(names, raw.texts, strict=True)),
        "seed": seed,
        "conditioning": steps,
        "versions": {name: v for name in LIBRARIES if (v := _version(name))},
    }
    return CentreBank(names, vectors.astype(np.float32), provenance)


def _check_apart(names: Sequence[str], vectors: Float[np.ndarray, "K d"]) -> None:
    nearest = nearest_pairs(vectors.astype(np.float64), 1)
    if nearest and nearest[0][2] > SAME:
        first, second, _ = nearest[0]
        raise InputError(
            f"{names[first]!r} and {names[second]!r} have the same centre; describe the classes"
            " apart, or take another builder"
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
