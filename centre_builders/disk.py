"""What is done on a disk so that a kill, a full disk or a power cut leaves the old or the new.

Everything is written under another name beside its target, `.tmp-NAME-PID`; `sweep` removes what
killed processes left of it.
"""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from centre_builders.errors import DiskError, InputError, NoSpace

TEMPORARY, OLD = ".tmp-", ".old-"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Give a free name beside a target to write under; what is there is removed on any error.

    Raises:
        NoSpace: the disk is full.
        DiskError: the target cannot be written for another reason.
    """
    place = target.with_name(f"{TEMPORARY}{target.name}-{os.getpid()}")
    try:
        make_folder(target.parent)
        remove(place)
        yield place
    except BaseException as error:
        size = 0
        with suppress(OSError):
            size = _size(place)
            remove(place)
        _explain(error, target, size)
        raise


def move(place: Path, target: Path) -> None:
    """Put a file or folder that is on the disk at its target, in the place of what was there."""
    old = place
    if not (place.is_dir() and target.exists()):
        place.replace(target)
    elif not _exchange(place, target):
        # A folder cannot be renamed onto a full one. Where the file system cannot exchange the
        # two, the old one steps aside, and `sweep` puts it back after a kill.
        old = target.with_name(f"{OLD}{target.name}-{os.getpid()}")
        target.rename(old)
        place.rename(target)
    sync(target.parent)
    with suppress(OSError):  # the new one is there, and `sweep` removes what is left of the old
        remove(old)


def discard(folder: Path) -> None:
    """Remove a folder so that it is never seen half removed."""
    gone = folder.with_name(f"{TEMPORARY}{folder.name}-{os.getpid()}")
    folder.rename(gone)
    with suppress(OSError):  # `sweep` removes what is left
        remove(gone)


def sweep(parent: str | Path, *, locked: bool = False) -> None:
    """Remove what killed processes left half written in a folder.

    Args:
        parent: the folder.
        locked: whether the caller alone writes into it. Else what a living process of this machine
            may be writing stays.
    """
    for aside in Path(parent).glob(f"{OLD}*"):
        target = aside.with_name(aside.name.removeprefix(OLD).rpartition("-")[0])
        remove(aside) if target.exists() else aside.rename(target)
    for leftover in Path(parent).glob(f"{TEMPORARY}*"):
        pid = leftover.name.rpartition("-")[2]
        if locked or not (pid.isdigit() and _is_alive(int(pid))):
            remove(leftover)


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
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def writing(target: Path, size: int = 0) -> Iterator[None]:
    """Say of the system's errors within that they are about a file, of which so much is written.

    Raises:
        NoSpace: the disk is full.
        DiskError: the target cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        _explain(error, target, size)
        raise


def _explain(error: BaseException, target: Path, size: int) -> None:
    """Raise what an error means for what was to be written; return where it is another's."""
    found = _system_error(error)
    if found is None or not _is_near(found.filename, target):
        return
    if found.errno in FULL:
        raise NoSpace(
            f"disk full writing {target}: more than {size:,} bytes needed, {_free(target):,} free;"
            " make room and run again, what was there before is untouched"
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
        cause = cause.__cause__ or cause.__context__
    if cause is not None or not isinstance(error, RuntimeError):
        return cause
    # Of FAISS there is only a text.
    said = (number for number in errno.errorcode if os.strerror(number) in str(error))
    return next((OSError(number, os.strerror(number)) for number in said), None)


def _free(path: Path) -> int:
    near = next(place for place in path.absolute().parents if place.exists())
    return shutil.disk_usage(near).free


def _is_near(filename: str | bytes | int | None, target: Path) -> bool:
    """Return whether an error of this file is one of writing the target; writes name no file."""
    return filename is None or Path(os.fsdecode(str(filename))).is_relative_to(target.parent)


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


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
