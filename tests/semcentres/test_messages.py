"""How the processes of an attempt find each other in a store that all attempts share."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from semcentres.messages import Messages, _follow, _lead, _starter
from semcentres.ranks import Ranks
from semcentres.watchdog import Watchdog


@pytest.fixture
def lobby(monkeypatch: pytest.MonkeyPatch) -> Iterator[Messages]:
    """One process's; the name of an attempt is there whose processes have ended."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    lobby = Messages("semcentres")
    lobby.say("round", "ended")
    yield lobby
    del server


def follow(rank: int) -> str:
    return _follow(Messages("semcentres"), rank)


def lead() -> str:
    return _lead(Messages("semcentres"), 3)


def wait_for(over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not over():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_all_take_the_name_of_the_first_that_answers(lobby: Messages) -> None:
    with ThreadPoolExecutor() as pool:
        early = pool.submit(follow, 1)
        wait_for(lambda: lobby.said("ended/came/1"))
        name = pool.submit(lead)
        late = pool.submit(follow, 2)
        assert name.result() == early.result() == late.result() != "ended"
    # Whoever of another machine is still at it hears that it is over.
    assert lobby.said("ended/alarm")
    assert not lobby.said(f"{name.result()}/alarm")


def test_who_replaces_a_process_waits_for_the_next_attempt(lobby: Messages) -> None:
    with ThreadPoolExecutor() as pool:
        all_ = pool.submit(lead), pool.submit(follow, 1), pool.submit(follow, 2)
        (name,) = {one.result() for one in all_}
        again = pool.submit(follow, 1)
        wait_for(lambda: lobby.said(f"{name}/alarm"))
        assert not again.done()
        pool.submit(follow, 2)
        assert lead() == again.result() != name


@pytest.mark.parametrize("wait", [lead, lambda: follow(1)])
def test_nobody_waits_without_torchrun(
    wait: Callable[[], str], lobby: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = iter([os.getppid(), 1])
    monkeypatch.setattr("os.getppid", lambda: next(parents))
    with pytest.raises(RuntimeError, match="torchrun has gone"):
        wait()


def test_a_rank_is_killed_if_it_lives_here(
    lobby: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, or of another torchrun, its number is somebody else's."""
    monkeypatch.setattr("os.getppid", os.getpid)  # so that a child is taken for a sibling
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        lobby.say("process/1", f"another-machine {os.getpid()} {child.pid}")
        lobby.kill(1)
        assert not lobby.said("frozen/1")
        lobby.say("process/1", f"{_starter()} {child.pid}")
        lobby.kill(1)
        assert lobby.said("frozen/1")
        assert child.wait(timeout=30) == -signal.SIGKILL
    lobby.say("process/2", f"{_starter()} {child.pid}")
    lobby.kill(2)
    assert not lobby.said("frozen/2")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({}, ""),
        ({"failed/2": "InputError: image 7"}, "rank 2 failed with InputError: image 7"),
        ({"stalled/1": ""}, "rank 1 has not got on for 300 s, it is at its end"),
    ],
)
def test_sigterm_is_the_cause_unless_another_rank_is(
    lobby: Messages, said: dict[str, str], cause: str
) -> None:
    """All three answer; torchrun sends it to all as soon as one has ended."""
    watchdog = Watchdog()
    watchdog.ranks, watchdog._told = Ranks(0, 3), lobby
    for key, text in {"lost/0": "", "at/1": "its end", "lost/2": "", **said}.items():
        lobby.say(key, text)
    assert watchdog._cause(terminated=True) == cause
