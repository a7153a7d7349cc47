"""Threads that read files, each within a time: a disk or a network share may never answer.

They are daemons, so that one that waits for ever holds up neither an error nor the process's end.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import TimeoutError as NotYet
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import TypeVar

from centre_builders.errors import DiskError, UsageError

VARIABLE = "SEMCENTRES_READ_TIMEOUT"  # of the environment: it is the machine's disks that differ
TIMEOUT = 120.0
PERIOD = 1.0  # seconds between two looks at how long a file has been read

T = TypeVar("T")


class Readers:
    """So many threads; left with the block, whatever they wait for.

    Args:
        workers: threads, at least 1.

    Raises:
        UsageError: the environment's time is no number above 0.
    """

    def __init__(self, workers: int) -> None:
        self._seconds = _timeout()
        self._began: dict[Path, float] = {}
        self._pool = ThreadPool(workers)

    def __enter__(self) -> "Readers":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the threads; tasks that have not begun never will."""
        self._pool.terminate()

    def begin(self, work: Callable[..., T], *arguments: object) -> AsyncResult[T]:
        """Return what will be the result of `work(*arguments)`, once a thread is free for it."""
        return self._pool.apply_async(work, arguments)

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Note in a task which file it reads."""
        self._began[path] = time.monotonic()
        try:
            yield
        finally:
            self._began.pop(path, None)

    def wait(self, result: AsyncResult[T]) -> T:
        """Return the result of a task, or raise what it has raised.

        Raises:
            DiskError: a file has been read for too long; it is named.
        """
        while True:
            try:
                return result.get(PERIOD)
            except NotYet:
                self._refuse_slow()

    def _refuse_slow(self) -> None:
        since = time.monotonic() - self._seconds
        slow = [str(path) for path, began in list(self._began.items()) if began < since]
        if slow:
            raise DiskError(
                f"{', '.join(slow)}: no answer within {self._seconds:g} s of reading; see to its"
                f" disk or network share and run again, or set {VARIABLE}=SECONDS"
            )


def _timeout() -> float:
    given = os.environ.get(VARIABLE, "")
    try:
        seconds = float(given or TIMEOUT)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{VARIABLE}={given!r} in the environment must be seconds above 0")
    return seconds
