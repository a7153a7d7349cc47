"""What the processes of torchrun tell each other beside what they exchange, in its own store."""

import os
import signal
import socket
import time
from contextlib import suppress
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist

from semcentres.ranks import launched

PERIOD = 0.1  # seconds between two looks for the others


class Messages:
    """Words under keys, the same for all processes; a RuntimeError where torchrun has gone.

    Args:
        place: whose keys they are; the same key of another place is another.
    """

    def __init__(self, place: str) -> None:
        self._place = place

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

    def make_store(self, timeout: float) -> Any:  # noqa: ANN401
        """Return a connection to the store of its own; to wait by it holds up no message.

        Args:
            timeout: seconds to wait for a key.
        """
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        wait = timedelta(seconds=timeout)
        store = dist.TCPStore(address, port, is_master=False, timeout=wait)  # type: ignore[attr-defined]
        return dist.PrefixStore(self._place, store)  # type: ignore[attr-defined]

    @cached_property
    def _store(self) -> Any:  # noqa: ANN401
        return self.make_store(30.0)


@cache  # a process is of one attempt only
def join_round() -> Messages:
    """Return the messages of this attempt, as soon as its first process and this one know it.

    All attempts share torchrun's store, and it does not name them: TORCHELASTIC_RESTART_COUNT is
    what each machine counts for itself. So the first process makes up a name. Another believes
    it when the first has answered, since what it reads may be the name of an earlier attempt.

    Raises:
        RuntimeError: torchrun has gone.
    """
    (rank, count), lobby = launched(), Messages("semcentres")
    name = _lead(lobby, count) if rank == 0 else _follow(lobby, rank)
    return Messages(f"semcentres/{name}")


def connect(device: torch.device, timeout: float) -> None:
    """Connect the processes of this attempt; Fabric takes the connection that it finds.

    Its own would be by torchrun's bare store, in which they may read the addresses of those that
    torchrun has started before them, and wait for those.

    Args:
        device: of this process.
        timeout: seconds that they wait for each other.
    """
    rank, count = launched()
    dist.init_process_group(
        dist.get_default_backend_for_device(device),
        store=join_round().make_store(timeout),
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=timeout),
        device_id=None if device.type == "cpu" else device,
    )


def _lead(lobby: Messages, count: int) -> str:
    """Name the attempt, and answer each of the others."""
    name, parent = uuid4().hex, os.getppid()
    if before := lobby.read("round"):
        lobby.say(f"{before}/alarm")  # a machine that has not begun again may still be at it
    lobby.say("round", name)
    for rank in range(1, count):
        while not (other := lobby.read(f"{name}/came/{rank}")):
            _pause(parent)
        lobby.say(f"{name}/known/{rank}", other)
    return name


def _follow(lobby: Messages, rank: int) -> str:
    """Return the name of the attempt whose first process answers."""
    own, parent = uuid4().hex, os.getppid()
    while True:
        if name := lobby.read("round"):
            lobby.say(f"{name}/came/{rank}", own)
            known = lobby.read(f"{name}/known/{rank}")
            if known == own:
                return name
            if known:
                lobby.say(f"{name}/alarm")  # it waits for the process that this one replaces
        _pause(parent)


def _pause(parent: int) -> None:
    if os.getppid() != parent:
        raise RuntimeError("torchrun has gone")
    time.sleep(PERIOD)


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
