"""Stopping a run so that nothing is lost: the signal is noted, the step ends, the run is saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """A run was stopped by a signal, after its checkpoint was written."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}, saved")
        self.exit_code = 128 + signum


class Interrupt:
    """The first SIGTERM or SIGINT that arrived, or 0."""

    signum: int = 0


@contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Note SIGTERM and SIGINT instead of dying by them; a second SIGINT interrupts at once."""
    noted = Interrupt()

    def note(signum: int, _frame: FrameType | None) -> None:
        if noted.signum == signal.SIGINT == signum:
            raise KeyboardInterrupt
        noted.signum = noted.signum or signum

    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield noted
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
