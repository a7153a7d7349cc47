"""Children that are forked from a process with everything imported, so that each costs little."""

import os
import signal
import time
from collections.abc import Callable

Tell = Callable[[str], None]


class Child:
    """A child that does some work and may tell its parent lines.

    Args:
        work: what it does, given a function that tells. The child ends with exit code 0, with that
            of a SystemExit, or with 99 after another exception, which it tells.
    """

    def __init__(self, work: Callable[[Tell], None]) -> None:
        self._lines = ""
        self._told, telling = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._told)
            _live(work, telling)
        os.close(telling)

    def read(self) -> str:
        """Return what it has told next, waiting for it; nothing once it has ended."""
        more = os.read(self._told, 1 << 16).decode()
        self._lines += more
        return more

    def end(self, signum: int = 0, *, timeout: float = 120.0) -> tuple[int, list[str]]:
        """Send a signal, if any; return the exit code (negative: the signal) and all that it told.

        A child that outlives the timeout is killed; its code is then -9.
        """
        if signum:
            os.kill(self.pid, signum)
        deadline = time.monotonic() + timeout
        while not (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        while self.read():
            pass
        os.close(self._told)
        return os.waitstatus_to_exitcode(found[1]), self._lines.splitlines()


def _live(work: Callable[[Tell], None], telling: int) -> None:
    code = 99
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        work(lambda line: _write(telling, f"{line}\n"))
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException as error:
        _write(telling, f"{type(error).__name__}: {error}".replace("\n", " ") + "\n")
    finally:
        os._exit(code)


def _write(descriptor: int, text: str) -> None:
    os.write(descriptor, text.encode())
