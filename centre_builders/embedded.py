"""Embedded images as files: row-aligned parts, of which each is there whole or not at all.

    part-00000.npy       float32 [n D], unit rows
    part-00000.parquet   which image each row is: id, path, label
    part-00000.done      hashes of the two, the model's fingerprint, what was asked; written last
    embeddings.json      number of parts and rows; written when all parts are there

Dimensions: N images, n of a part, D embedding width.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from centre_builders.artefact import describe_file, write_file, write_json
from centre_builders.errors import CorruptArtefact, InputError, refused_unless
from centre_builders.items import items_bytes, read_items
from centre_builders.json_files import read_json, sealed, unsealed

if TYPE_CHECKING:
    import pyarrow as pa

COMPLETE = "embeddings.json"


@dataclass(frozen=True, eq=False)
class Embedded:
    """Images that a model has embedded.

    Args:
        vectors: unit rows.
        items: which image each row is, as of `items.make_items`.
        about: `model`, the fingerprint of the model; `split` and `data` where the images are a
            run's own.
    """

    vectors: Float32[np.ndarray, "N D"]
    items: "pa.Table"
    about: Mapping[str, Any]


def write_part(
    folder: Path,
    number: int,
    vectors: Float32[np.ndarray, "n D"],
    items: "pa.Table",
    about: Mapping[str, Any],
) -> None:
    """Write a part, whole or, for every reader, not at all; `about` is what `read_done` returns."""
    buffer = BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    done = _done(folder, number)
    # A part that is written anew is not there until it is whole.
    done.unlink(missing_ok=True)
    contents = (buffer.getvalue(), items_bytes(items))
    files = {}
    for path, content in zip(_files(folder, number), contents, strict=True):
        write_file(path, content)
        # Of what was meant, not of what is there: another process may have written there too.
        files[path.name] = {"sha256": sha256(content).hexdigest(), "size": len(content)}
    write_json(done, sealed({"about": dict(about), "files": files}))


def read_done(folder: Path, number: int) -> dict[str, Any] | None:
    """Return what a part was made of, after its files were verified; None where it is not there.

    Raises:
        CorruptArtefact: a file is not what was written.
    """
    done = _done(folder, number)
    if not done.exists():
        return None
    content = _read_json(done)
    with refused_unless(done, "what embed wrote"):
        for path in _files(folder, number):
            _check_file(path, content)
        return dict(content["about"])


def read_about(folder: Path, number: int) -> dict[str, Any]:
    """Return what a part that is there was made of; its files are not checked.

    Raises:
        CorruptArtefact: it is not there, or its `.done` is not what was written.
    """
    done = _done(folder, number)
    with refused_unless(done, "what embed wrote"):
        return dict(_read_json(done)["about"])


def complete(folder: Path, about: Mapping[str, Any], num_parts: int) -> int:
    """Say that all parts are there, remove those of an earlier, larger set, and count the rows."""
    for path in folder.glob("part-*"):
        number = path.stem.partition("-")[2]
        if number.isdigit() and int(number) >= num_parts:
            path.unlink()
    rows = sum(int(read_about(folder, number)["rows"]) for number in range(num_parts))
    content = {"about": dict(about), "parts": num_parts, "rows": rows}
    path, text = folder / COMPLETE, (json.dumps(sealed(content), indent=2) + "\n").encode()
    if not _holds(path, text):
        write_file(path, text)
    return rows


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file is there with this content; one that is damaged is not."""
    try:
        return path.read_bytes() == content
    except OSError:
        return False


@dataclass(frozen=True, eq=False)
class Parts:
    """What `semcentres embed` wrote, a part at a time; made by `open_parts`.

    Args:
        folder: that holds them.
        about: as of `Embedded`.
        sizes: rows of each part.
    """

    folder: Path
    about: Mapping[str, Any]
    sizes: Sequence[int]

    def vectors(self, number: int) -> Float32[np.ndarray, "n D"]:
        """Return a part's unit rows, mapped from its file, whose hash is checked before.

        Raises:
            CorruptArtefact: the file is not what was written.
        """
        path, _ = _files(self.folder, number)
        self._verify(number, path)
        # "c": what is written to them is seen by the process alone; torch warns of "r".
        rows = np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
        if rows.dtype != np.float32 or rows.ndim != 2 or len(rows) != self.sizes[number]:
            raise CorruptArtefact(
                f"{path} holds {rows.dtype} of shape {rows.shape}, wanted float32"
                f" [{self.sizes[number]}, columns]; embed it again"
            )
        return rows

    def items(self, number: int) -> "pa.Table":
        """Return which image each row of a part is, as of `make_items`; errors as of `vectors`."""
        _, path = _files(self.folder, number)
        self._verify(number, path)
        return read_items(path, self.sizes[number])

    def _verify(self, number: int, path: Path) -> None:
        with refused_unless(path, "what embed wrote"):
            _check_file(path, _read_json(_done(self.folder, number)))


def open_parts(folder: str | Path) -> Parts:
    """Return the parts that `semcentres embed` wrote; their files are not checked yet.

    Raises:
        InputError: the folder is none, or embedding it was not finished.
        CorruptArtefact: what says which parts there are is not what was written.
    """
    place = Path(folder).expanduser()
    path = place / COMPLETE
    if not path.is_file():
        raise InputError(
            f"{place} holds no {COMPLETE}: no images were embedded into it, or not all yet;"
            f" run: semcentres embed run_dir=RUN out={place}"
        )
    with refused_unless(path, "what embed wrote"):
        content = _read_json(path)
        about, sizes = dict(content["about"]), []
        for number in range(content["parts"]):
            done = _done(place, number)
            made = _read_json(done)["about"] if done.exists() else {}
            if made.get("model") != about["model"]:
                raise CorruptArtefact(f"part {number} of {place} is missing; embed it again")
            sizes.append(int(made["rows"]))
        if not sizes or sum(sizes) != content["rows"]:
            raise CorruptArtefact(f"{place} has not {content['rows']} rows; embed it again")
    return Parts(place, about, sizes)


def read_embedded(folder: str | Path) -> Embedded:
    """Return what `semcentres embed` wrote; errors as of `open_parts` and `Parts`."""
    parts = open_parts(folder)
    with refused_unless(parts.folder / COMPLETE, "what embed wrote"):
        vectors = np.concatenate([parts.vectors(number) for number in range(len(parts.sizes))])
    return Embedded(vectors, all_items(parts), parts.about)


def all_items(parts: Parts) -> "pa.Table":
    """Return which image each row of all parts is; errors as of `Parts`."""
    import pyarrow as pa

    return pa.concat_tables([parts.items(number) for number in range(len(parts.sizes))])


def _check_file(path: Path, done: Mapping[str, Any]) -> None:
    if describe_file(path) != done["files"].get(path.name):
        raise CorruptArtefact(f"{path} differs from its SHA-256 in its .done; embed it again")


def _done(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.done"


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    done = _done(folder, number)
    return done.with_suffix(".npy"), done.with_suffix(".parquet")


def _read_json(path: Path) -> dict[str, Any]:
    with refused_unless(path, "what embed wrote"):
        return unsealed(read_json(path, "what embed wrote"))
