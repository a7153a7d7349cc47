"""Stopping so that nothing is lost: what is half written is removed, a step ends and is saved."""

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from centre_builders.errors import UsageError

# As sysexits.h has it for what is to be tried again.
OUT_OF_TIME = 75


class Stopped(Exception):
    """A run was stopped by a signal or its time limit, after its checkpoint was written."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(signum, step)  # it may be pickled on its way from a launcher's job
        self.exit_code = OUT_OF_TIME if signum == signal.SIGALRM else 128 + signum

    def __str__(self) -> str:
        signum, step = self.args
        why = "max_time" if signum == signal.SIGALRM else signal.Signals(signum).name
        return f"stopped by {why} after step {step}, saved"


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived where nothing has to end first."""


@contextmanager
def terminable() -> Iterator[None]:
    """Leave a block at SIGTERM as at SIGINT, by an exception; a second SIGTERM kills.

    In a thread that is not the first, which gets no signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_signum: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def saved(step: int) -> Iterator[None]:
    """Leave a block with `Stopped` where a signal ends it after a run's last step was saved."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped(signum_of(error), step) from error


def signum_of(error: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that was the cause."""
    return signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT


class Interrupt:
    """The first SIGTERM, SIGINT or, at the time limit, SIGALRM that arrived, or 0."""

    signum: int = 0


@contextmanager
def interrupts(max_seconds: float | None = None) -> Iterator[Interrupt]:
    """Note signals instead of dying by them; a second SIGINT interrupts at once.

    Args:
        max_seconds: until a SIGALRM is noted, by a clock that nobody sets; None sends none.
    """
    noted = Interrupt()

    def note(signum: int, _frame: FrameType | None) -> None:
        if noted.signum == signal.SIGINT == signum:
            raise KeyboardInterrupt
        noted.signum = noted.signum or signum

    timed = () if max_seconds is None else (signal.SIGALRM,)
    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT, *timed)}
    timer = signal.setitimer(signal.ITIMER_REAL, max_seconds) if max_seconds is not None else None
    try:
        yield noted
    finally:
        if timer is not None:
            signal.setitimer(signal.ITIMER_REAL, *timer)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def seconds_of(max_time: str | None) -> float | None:
    """Return a time limit in seconds.

    >>> seconds_of("01:30:00")
    5400.0

    Raises:
        UsageError: it is not of the form HH:MM:SS, or is 0.
    """
    if max_time is None:
        return None
    found = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", max_time)
    hours, minutes, seconds = map(int, found.groups()) if found else (0, 0, 0)
    if not (hours or minutes or seconds):
        raise UsageError(
            f"max_time={max_time}: write HH:MM:SS, such as 01:30:00; in a YAML file in quotes"
        )
    return float(3600 * hours + 60 * minutes + seconds)
