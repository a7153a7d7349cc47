"""What the processes of torchrun tell each other beside what they exchange, in its own store."""

import os
import signal
import socket
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import torch.distributed as dist


class Messages:
    """Words under keys, the same for all processes; a RuntimeError where torchrun has gone."""

    def say(self, key: str, text: str = "") -> None:
        """Put a text under a key."""
        self._store.set(key, text)

    def said(self, key: str) -> bool:
        """Return whether anything is under a key."""
        return bool(self._store.check([key]))

    def read(self, key: str) -> str:
        """Return what is under a key, or nothing."""
        return str(self._store.get(key).decode()) if self.said(key) else ""

    def add(self, key: str, number: int) -> int:
        """Return the sum of what was added under a key, with this number."""
        return int(self._store.add(key, number))

    def say_process(self, rank: int) -> None:
        """Tell which process a rank is."""
        self.say(f"process/{rank}", f"{_starter()} {os.getpid()}")

    def kill(self, rank: int) -> None:
        """Kill a rank if it is alive, here and of the same torchrun, and say that it was frozen."""
        starter, _, number = self.read(f"process/{rank}").rpartition(" ")
        if starter == _starter() and _is_sibling(number):
            self.say(f"frozen/{rank}")  # before: others may look for it in between
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)

    @cached_property
    def _store(self) -> Any:  # noqa: ANN401
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        wait = timedelta(seconds=30)
        store = dist.TCPStore(address, port, is_master=False, timeout=wait)  # type: ignore[attr-defined]
        # Of this attempt: what was told before torchrun restarted the processes is over.
        attempt = f"semcentres/{os.environ['TORCHELASTIC_RESTART_COUNT']}"
        return dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]


def _is_sibling(number: str) -> bool:
    """Return whether a process is alive and has the same parent; False where there is no /proc."""
    try:
        about = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False
    state, parent = about.rpartition(")")[2].split()[:2]
    return state not in "ZX" and int(parent) == os.getppid() and int(number) != os.getpid()


def _starter() -> str:
    """Return which torchrun has started this process."""
    return f"{socket.gethostname()} {os.getppid()}"
