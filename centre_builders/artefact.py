"""Write any artefact so that it is whole or absent; verify it before any parser reads it.

A file or folder is written beside its target, forced to disk, described by SHA-256 and size, and
only then renamed into place: a kill at any moment leaves the old one or the new one. Folders carry
MANIFEST.json; single files carry their hash within (`sealed.py`).
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

from centre_builders.disk import beside, sync
from centre_builders.disk import discard as discard
from centre_builders.disk import sweep as sweep
from centre_builders.errors import CorruptArtefact, refused_unless
from centre_builders.json_files import read_json, sealed, unsealed

MANIFEST = "MANIFEST.json"
SCHEMA = 2


def write_file(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write a file of these parts whole or not at all.

    Raises:
        NoSpace: the disk is full; what was there before is still there.
        DiskError: it cannot be written; what was there before is still there.
    """
    target = Path(path)
    need = sum(memoryview(part).nbytes for part in parts)
    with beside(target, need) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: str | Path, content: Mapping[str, Any] | list[Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())


@contextmanager
def write_folder(target: str | Path, *, about: Mapping[str, Any], need: int = 0) -> Iterator[Path]:
    """Give a folder to write into, and put it at `target` whole when the block ends well.

    Args:
        target: where the folder will be; one that is there is replaced.
        about: JSON that the manifest keeps beside the files' hashes.
        need: bytes that it will take at least, for the message of a full disk.

    Raises:
        NoSpace: the disk is full; what was there before is still there.
        DiskError: it cannot be written; what was there before is still there.
    """
    target = Path(target)
    with beside(target, need) as temporary:
        temporary.mkdir()
        yield temporary
        _write_manifest(temporary, about)


def verify_folder(path: str | Path) -> dict[str, Any]:
    """Return a folder's manifest after checking every file against it.

    Raises:
        CorruptArtefact: the manifest or a file is missing, differs, or is not listed.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    listed: dict[str, dict[str, Any]] = manifest["files"]
    found = {name for name in _files(folder) if name != MANIFEST}
    for name in sorted(found ^ listed.keys()):
        fault = "is missing" if name in listed else "is not in the manifest"
        raise CorruptArtefact(f"{folder / name} {fault}; restore the folder or make it anew")
    for name, wanted in listed.items():
        if describe_file(folder / name) != wanted:
            raise CorruptArtefact(
                f"{folder / name} differs from its SHA-256 in {MANIFEST};"
                " restore the folder or make it anew"
            )
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a folder's manifest; the files are not checked against it.

    Raises:
        CorruptArtefact: it is missing or is none.
    """
    path = folder / MANIFEST
    with refused_unless(path, "a manifest"):
        manifest = unsealed(read_json(path, "a manifest"))
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"schema {manifest['schema']}, wanted {SCHEMA}")
        return manifest | {key: dict(manifest[key]) for key in ("about", "files")}


def describe_file(path: Path) -> dict[str, Any]:
    """Return SHA-256 and size of a file.

    Raises:
        CorruptArtefact: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe has no end
            raise CorruptArtefact(f"{path} is not a file")
        with path.open("rb") as file:
            return {"sha256": file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}
    except OSError as error:
        raise CorruptArtefact(f"{path} cannot be read ({error.strerror})") from error


def _write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    files = {name: describe_file(folder / name) for name in _files(folder)}
    for name in files:
        sync(folder / name)
    content = sealed({"schema": SCHEMA, "about": dict(about), "files": files})
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    sync(manifest)
    for place, _, _ in _walk(folder):
        sync(Path(place))


def _files(folder: Path) -> list[str]:
    found = (os.path.join(place, name) for place, _, names in _walk(folder) for name in names)
    return sorted(os.path.relpath(name, folder) for name in found)


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Return `os.walk`, which passes over a folder that cannot be listed, as `rglob` does."""

    def refuse(error: OSError) -> None:
        raise error

    return os.walk(folder, onerror=refuse)
