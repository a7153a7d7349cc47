"""What is done on a disk so that a kill, a full disk or a power cut leaves the old or the new.

Everything is written under another name beside its target, `.tmp-NAME-MACHINE-PID`; `sweep` removes
what killed processes left of it.
"""

import ctypes
import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from centre_builders.errors import DiskError, InputError, NoSpace

TEMPORARY, OLD = ".tmp-", ".old-"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
DAY = 86_400.0  # seconds after which what another machine was writing is taken to be left over


@contextmanager
def beside(target: Path, need: int = 0) -> Iterator[Path]:
    """Give a free name beside a target to write under, and rename it to the target at the end.

    What is there is removed on any error, and so is what killed processes left half written of the
    same target. The block forces to disk what it writes; the entry in the folder above is forced
    here.

    Args:
        target: a file or folder.
        need: bytes that will be written at least, as far as that is known; a full disk's error
            tells it.

    Raises:
        NoSpace: the disk is full.
        DiskError: the target cannot be written for another reason, or may not survive a power cut.
    """
    place = _aside(TEMPORARY, target)
    try:
        make_folder(target.parent)
        sweep(target.parent, name=target.name)
        remove(place)
        yield place
        old = _move(place, target)
    except BaseException as error:
        size = 0
        with suppress(OSError):
            size = _size(place)
            remove(place)
        # Of a folder, what is there and the file that there was no room for.
        more = error.need if isinstance(error, NoSpace) else 1
        _explain(error, target, max(size + more, need))
        raise
    try:
        sync(target.parent)
    except OSError as error:
        raise DiskError(
            f"{target} is written, but after a power cut what was there before may be back:"
            f" {target.parent} cannot be forced to the disk ({error.strerror}); mend that and run"
            " again"
        ) from error
    with suppress(OSError):  # the new one is there, and `sweep` removes what is left of the old
        remove(old)


def _move(place: Path, target: Path) -> Path:
    """Put a file or folder at its target, and return where what was there before is now."""
    if not (place.is_dir() and target.exists()):
        place.replace(target)
        return place
    if _exchange(place, target):
        return place
    # A folder cannot be renamed onto a full one. Where the file system cannot exchange the two,
    # the old one steps aside, and `sweep` puts it back after a kill.
    old = _aside(OLD, target)
    target.rename(old)
    place.rename(target)
    return old


def discard(folder: Path) -> None:
    """Remove a folder so that it is never seen half removed."""
    gone = _aside(TEMPORARY, folder)
    folder.rename(gone)
    with suppress(OSError):  # `sweep` removes what is left
        remove(gone)


def sweep(parent: str | Path, *, locked: bool = False, name: str | None = None) -> None:
    """Remove what killed processes left half written in a folder, if there is one.

    Args:
        parent: the folder.
        locked: whether the caller alone writes into it. Else what a living process of this machine
            may be writing stays, and for a day what one of another machine may be.
        name: of the target whose leftovers are meant; None means all.
    """
    entries: list[str] = []
    with suppress(FileNotFoundError):
        entries = os.listdir(parent)
    # Every write comes here: among many entries these few are found by their first letters.
    for entry in [entry for entry in entries if entry.startswith((TEMPORARY, OLD))]:
        prefix = OLD if entry.startswith(OLD) else TEMPORARY
        target, machine, pid = _parts(entry.removeprefix(prefix))
        place = Path(parent) / entry
        if name in (None, target) and (locked or _is_left(place, machine, pid)):
            _settle(place, place.with_name(target), put_back=prefix == OLD)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each forced to disk with its entry."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems, of networks mostly, cannot force a folder, and say so.
        if not (error.errno in (errno.EINVAL, errno.ENOTSUP) and path.is_dir()):
            raise
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def writing(target: Path, need: int = 1) -> Iterator[None]:
    """Say of the system's errors within that they are about a file, which takes so many bytes.

    Raises:
        NoSpace: the disk is full.
        DiskError: the target cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        _explain(error, target, need)
        raise


def _explain(error: BaseException, target: Path, need: int) -> None:
    """Raise what an error means for what was to be written; return where it is another's."""
    found = _system_error(error)
    if found is None or not _is_near(found.filename, target):
        return
    if found.errno in FULL:
        raise NoSpace(
            f"disk full writing {target}: at least {need:,} bytes needed, {_free(target):,} free;"
            " make room and run again, what was there before is untouched",
            need,
        ) from error
    raise DiskError(
        f"cannot write {target}: {found.strerror}; mend that and run again, what was there before"
        " is untouched"
    ) from error


def _system_error(error: BaseException) -> OSError | None:
    """Return the system's error behind another one, None where there is none."""
    if isinstance(error, InputError) and not isinstance(error, DiskError):
        return None  # it has been said what it means
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        # torch's writer does not name the cause of its RuntimeError; others' context is no cause.
        cause = cause.__cause__ or (cause.__context__ if isinstance(cause, RuntimeError) else None)
    if cause is not None or not isinstance(error, RuntimeError):
        return cause
    # Of FAISS there is only a text.
    said = (number for number in errno.errorcode if os.strerror(number) in str(error))
    return next((OSError(number, os.strerror(number)) for number in said), None)


def _free(path: Path) -> int:
    near = next(place for place in path.absolute().parents if place.exists())
    return shutil.disk_usage(near).free


def _is_near(filename: str | bytes | int | None, target: Path) -> bool:
    """Return whether an error of this file is one of writing the target.

    Writes name no file, and what is removed from an open folder is named without it.
    """
    if filename is None:
        return True
    path = Path(os.fsdecode(str(filename)))
    return path.name == str(path) or path.is_relative_to(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names at once; return whether the system and its file system can (Linux)."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    names = (AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second))
    return bool(rename(*names, RENAME_EXCHANGE) == 0)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _aside(prefix: str, target: Path) -> Path:
    return target.with_name(f"{prefix}{target.name}-{_machine()}-{os.getpid()}")


def _parts(rest: str) -> tuple[str, str, str]:
    """Return target, machine and process of a name that `_aside` has given, without its prefix."""
    target, machine, pid = rest.rsplit("-", 2) if rest.count("-") > 1 else (rest, "", "")
    return target, machine, pid


@cache
def _machine() -> str:
    """Return what this machine is called, in 8 digits: names of files have an end."""
    return sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_left(place: Path, machine: str, pid: str) -> bool:
    if machine == _machine() and pid.isdigit():
        return not _is_alive(int(pid))
    with suppress(FileNotFoundError):
        return time.time() - place.stat().st_mtime > DAY
    return False


def _settle(place: Path, target: Path, *, put_back: bool) -> None:
    """Remove what is left over, unless it stepped aside for what has not come."""
    with suppress(FileNotFoundError):  # another process has done so
        if put_back and not target.exists():
            place.rename(target)
        else:
            remove(place)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
