"""A process whose calls to the disk are counted, noted, failed or killed: `disk_faults.c`, loaded.

The library stands between the process and the C library, so that what is written by torch, FAISS
and Python alike passes it. It needs gcc, glibc and Linux.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_suffix(".c")
NEVER = -1


def run_with_faults(module: str, *words: object) -> Any:  # noqa: ANN401
    """Return what the `main` of a module of this package prints as JSON, run with the library."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "faults.so"
        build = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(build, check=True)
        code = f"import json; from {module} import main; print(json.dumps(main(*{list(words)!r})))"
        search = os.pathsep.join([str(SOURCE.parents[1]), *sys.path])
        done = subprocess.run(
            [sys.executable, "-c", code],
            # One thread: it forks, and OpenMP's pool does not live on in a child.
            env=os.environ
            | {"LD_PRELOAD": str(library), "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def arm(
    folder: Path,
    *,
    at: int = NEVER,
    number: int = 0,
    room: int = NEVER,
    journal: int = NEVER,
    looking: bool = False,
) -> None:
    """Begin to look at calls that concern paths below a folder.

    Args:
        folder: absolute.
        at: the call, from 0, that is spoilt.
        number: the error that it gives; 0 kills the process in its place.
        room: bytes that can be written before the disk is full.
        journal: descriptor of a file to note each call in.
        looking: whether calls that change nothing (open, read, stat, list, map) count too.
    """
    library = ctypes.CDLL(None)
    long = ctypes.c_long
    library.faults_arm(os.fsencode(folder), long(at), number, journal, long(room), looking)


def room_left() -> int:
    """Return how many bytes can still be written."""
    library = ctypes.CDLL(None)
    library.faults_room.restype = ctypes.c_long
    return int(library.faults_room())


def disarm() -> int:
    """Look at no more calls, and return how many there were."""
    library = ctypes.CDLL(None)
    library.faults_seen.restype = ctypes.c_long
    seen = int(library.faults_seen())
    arm(Path("/nowhere/at/all"))
    return seen


def noted(journal: int) -> list[Sequence[str]]:
    """Return the calls that a journal holds: what, path, ..., size."""
    text = os.pread(journal, os.fstat(journal).st_size, 0).decode()
    return [line.split("\t") for line in text.splitlines()]
