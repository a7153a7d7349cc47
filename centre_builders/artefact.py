"""Write any artefact so that it is whole or absent; verify it before any parser reads it.

A file or folder is written beside its target, forced to disk, described by SHA-256 and size, and
only then renamed into place: a kill at any moment leaves the old one or the new one. Folders carry
MANIFEST.json; single files carry their hash within (`sealed.py`).
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

from centre_builders.errors import CorruptArtefact, NoSpace

MANIFEST = "MANIFEST.json"
SCHEMA = 1


def write_file(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write a file of these parts whole or not at all.

    Raises:
        NoSpace: the disk is full; what was there before is still there.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    with _room(target, temporary):
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)


def write_json(path: str | Path, content: Mapping[str, Any] | list[Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())


@contextmanager
def write_folder(target: str | Path, *, about: Mapping[str, Any]) -> Iterator[Path]:
    """Give a folder to write into, and put it at `target` whole when the block ends well.

    Args:
        target: where the folder will be; one that is there is replaced.
        about: JSON that the manifest keeps beside the files' hashes.

    Raises:
        NoSpace: the disk is full; what was there before is still there.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    with _room(target, temporary):
        temporary.mkdir()
        yield temporary
        _write_manifest(temporary, about)
        _replace_folder(temporary, target)


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
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["schema"] != SCHEMA or not isinstance(manifest["files"], dict):
            raise ValueError(f"schema {manifest['schema']}, wanted {SCHEMA}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtefact(f"{path} cannot be read ({error}); make the folder anew") from error
    return dict(manifest)


def describe_file(path: Path) -> dict[str, Any]:
    """Return SHA-256 and size of a file.

    Raises:
        CorruptArtefact: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return {"sha256": file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}
    except OSError as error:
        raise CorruptArtefact(f"{path} cannot be read ({error.strerror})") from error


def sweep(parent: str | Path) -> None:
    """Remove what processes that are no longer alive left half written in a folder."""
    for leftover in Path(parent).glob(".tmp-*"):
        pid = leftover.name.rpartition("-")[2]
        if not (pid.isdigit() and _is_alive(int(pid))):
            _remove(leftover)


def _write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    files = {name: describe_file(folder / name) for name in _files(folder)}
    for name in files:
        _sync(folder / name)
    content = {"schema": SCHEMA, "about": dict(about), "files": files}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _sync(manifest)
    for place in {path.parent for path in folder.rglob("*")}:
        _sync_folder(place)


def _replace_folder(temporary: Path, target: Path) -> None:
    aside = None
    if target.exists():
        # A folder cannot be renamed onto a full one: the old one steps aside and goes last.
        aside = _temporary(target.with_name(f"{target.name}-old"))
        target.rename(aside)
    temporary.rename(target)
    _sync_folder(target.parent)
    if aside is not None:
        _remove(aside)


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def _temporary(target: Path) -> Path:
    path = target.with_name(f".tmp-{target.name}-{os.getpid()}")
    _remove(path)
    return path


@contextmanager
def _room(target: Path, temporary: Path) -> Iterator[None]:
    """Remove what is half written on any error, and say it plainly when the disk is full."""
    try:
        yield
    except BaseException as error:
        need = _size(temporary)
        _remove(temporary)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(target.parent).free
            raise NoSpace(
                f"disk full writing {target}: more than {need:,} bytes needed, {free:,} free;"
                " make room and run again, what was there before is untouched"
            ) from error
        raise


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    remove: Callable[[Path], None] = shutil.rmtree if path.is_dir() else _unlink
    remove(path)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Linux forces a folder's entries to disk in the same way as a file's bytes.
_sync_folder = _sync


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
