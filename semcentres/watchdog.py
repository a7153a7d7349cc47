"""When one of several processes fails, dies or hangs, all end soon and say which it was, and why.

A process that fails, or whose connection to the others breaks, raises an alarm in torchrun's
store. A thread of every process answers it with the line of code that its process is at, and ends
the process where it does not end by itself. So the others learn who failed with what, who is gone
without an answer, and where the one stands that hangs. Where processes work without exchanging
anything, each tells the store how far it is, and the one before it looks whether it gets on.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import torch.distributed as dist

from centre_builders.errors import InputError
from semcentres.hardware import make_fabric
from semcentres.interrupt import Stopped
from semcentres.ranks import Ranks, join, launched, leave
from semcentres.settings import TrainerSettings

TIMEOUT = 300.0  # seconds that processes wait for each other, where no setting says so
PERIOD = 1.0  # seconds between two looks at the store
GRACE = 6.0  # seconds that the others have to answer an alarm
PATIENCE = 10.0  # seconds that a process has to end by itself, less than torchrun's 30
OURS = Path(__file__).parent
REMEDY = "what was saved is whole, and the same command goes on from it"


class RankLost(InputError):
    """Another process of the training failed, died or hung."""

    exit_code = 6


class Watchdog:
    """What the processes of a training tell each other when something goes wrong.

    Args:
        timeout: seconds that they wait for each other, to be told.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self.ranks = Ranks(*launched(), parent=os.getppid())  # not yet connected
        self._steps = 0  # while it is 0, nobody looks whether this process gets on
        self._rests = False  # while it waits for the others
        self._alarmed = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch over a block; it is left with `RankLost` where another process is the cause.

        Raises:
            RankLost: the processes are named, with what is known of each.
        """
        if self.ranks.count == 1:
            yield
            return
        over = threading.Event()
        thread = threading.Thread(target=self._answer, args=(over,), daemon=True)
        thread.start()
        try:
            yield
        except (Stopped, RankLost):
            raise
        except BaseException as error:
            if not _is_lost_connection(error):
                self._alarm(f"failed/{self.ranks.rank}", f"{type(error).__name__}: {error}")
                raise
            # torchrun sends it as soon as another has died, and would have nothing said.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._alarm(f"lost/{self.ranks.rank}", "")
            raise RankLost(f"{self._cause()}; {REMEDY}") from error
        finally:
            over.set()
            # If the interpreter ended while it asks the store, the process would abort.
            thread.join(GRACE)

    def advance(self) -> None:
        """Say that this process gets on; it must again within `timeout`, unless it waits below.

        Raises:
            RankLost: a rank has failed.
        """
        self._steps += 1
        if self._steps == 1:
            self._tell_steps()  # not by the thread only: if it never came to that, nobody would see
        if self._alarmed.is_set():
            self._check()

    def meet(self, where: str = "here") -> None:
        """Wait until all have come here, at times that may differ by more than `timeout`.

        Raises:
            RankLost: a rank has failed.
        """
        if self.ranks.count > 1:
            self._store.add(where, 1)
            self._wait(lambda: bool(self._store.add(where, 0) >= self.ranks.count))

    def wait_for_first(self, key: str) -> str:
        """Return what rank 0 said under a key, however long that takes; errors as of `meet`."""
        self._wait(lambda: self._said(key))
        return str(self._store.get(key).decode())

    def _wait(self, over: Callable[[], bool]) -> None:
        self._rests = True
        while not over():
            self._check()
            time.sleep(0.2)
        self._rests = False
        self._tell_steps()

    def _check(self) -> None:
        if self._said("alarm"):
            self._store.set(f"lost/{self.ranks.rank}", "")
            raise RankLost(f"{self._cause()}; {REMEDY}")
        if os.getppid() != self.ranks.parent:
            raise RankLost("torchrun has gone; start it again")

    def _tell_steps(self) -> None:
        told = "" if self._rests or not self._steps else str(self._steps)
        self.say(f"steps/{self.ranks.rank}", told)

    def say(self, key: str, text: str) -> None:
        """Tell the others, who wait for it."""
        if self.ranks.count > 1:
            self._store.set(key, text)

    @cached_property
    def _store(self) -> Any:  # noqa: ANN401
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        wait = timedelta(seconds=30)
        store = dist.TCPStore(address, port, is_master=False, timeout=wait)  # type: ignore[attr-defined]
        # Of this attempt: what was told before torchrun restarted the processes is over.
        attempt = f"semcentres/{os.environ['TORCHELASTIC_RESTART_COUNT']}"
        return dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]

    def _said(self, key: str) -> bool:
        return bool(self._store.check([key]))

    def _read(self, key: str) -> str:
        return str(self._store.get(key).decode()) if self._said(key) else ""

    def _alarm(self, key: str, text: str) -> None:
        try:
            self._store.set(key, " ".join(text.split()))
            self._store.set("alarm", "")
        except RuntimeError:
            pass  # torchrun is gone, and with it whoever might have listened

    def _answer(self, over: threading.Event) -> None:
        """Answer an alarm, then see to it that this process ends; done by a thread."""
        next_, seen, since = (self.ranks.rank + 1) % self.ranks.count, "", time.monotonic()
        try:
            while not self._said("alarm"):
                if over.wait(PERIOD):
                    self.say(f"steps/{self.ranks.rank}", "")
                    return
                self._tell_steps()
                steps = self._read(f"steps/{next_}")
                if steps != seen or not steps:
                    seen, since = steps, time.monotonic()
                elif time.monotonic() - since > self.timeout:
                    self._alarm(f"stalled/{next_}", "")
            self._alarmed.set()
            self._store.set(f"at/{self.ranks.rank}", _where())
        except RuntimeError:
            pass  # the store is gone with torchrun: this process has to end too
        if not over.wait(PATIENCE):
            at = _where()
            sys.stderr.write(
                f"semcentres: rank {self.ranks.rank}: ended at {at}: {self._cause()}\n"
            )
            sys.stderr.flush()
            os._exit(RankLost.exit_code)

    def _cause(self) -> str:
        """Say which ranks are the cause, from what they answer within the time of grace."""
        ranks, limit = range(self.ranks.count), f"{self.timeout:g} s"
        deadline = time.monotonic() + GRACE
        try:
            while time.monotonic() < deadline:
                stalled, failed, at, lost = (
                    {rank: self._read(key) for rank in ranks if self._said(key := f"{word}/{rank}")}
                    for word in ("stalled", "failed", "at", "lost")
                )
                if failed:
                    break
                time.sleep(0.2)
        except RuntimeError:
            return "torchrun and its store have gone"
        where = {rank: f"it is at {line}" for rank, line in at.items()}
        if stalled:  # first: what torchrun ends because of it, fails too
            silent = "and does not answer"
            told = {r: f"has not got on for {limit}, {where.get(r, silent)}" for r in stalled}
        elif failed:
            told = {rank: f"failed with {error}" for rank, error in failed.items()}
        elif gone := set(ranks) - at.keys() - lost.keys():
            told = dict.fromkeys(sorted(gone), "is gone: killed, or its machine is")
        else:
            told = {r: f"has not come within {limit}, {where[r]}" for r in at if r not in lost}
        if told:
            return "; ".join(f"rank {rank} {what}" for rank, what in told.items())
        return "the ranks have lost their connections to one another"


@contextmanager
def together(settings: TrainerSettings) -> Iterator[Watchdog]:
    """Connect the processes that torchrun has started and watch over what they do.

    Raises:
        RankLost: one of the others is the cause that a block cannot go on.
    """
    others = Watchdog(settings.rank_timeout)
    with others.watching():
        if others.ranks.count > 1:
            others.meet()
            make_fabric(settings)
            others.ranks = join(settings.rank_timeout)
        yield others
    leave()


def _is_lost_connection(error: BaseException) -> bool:
    """Return whether a collective has failed; gloo's errors have no type of their own."""
    told = ("gloo", "pair closure")  # its source files, and a message without them
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in told)
    )


def _where() -> str:
    """Return the line of this package that the main thread is at, and the line that it called."""
    main = threading.main_thread().ident
    frames = traceback.extract_stack(sys._current_frames()[main or 0])
    ours = [frame for frame in frames if OURS in Path(frame.filename).parents]
    lines = [
        f"{Path(at.filename).name}:{at.lineno} in {at.name}" for at in (*ours[-1:], frames[-1])
    ]
    return ", ".join(dict.fromkeys(lines))
