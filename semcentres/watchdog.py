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
from pathlib import Path

import torch.distributed as dist

from centre_builders.errors import InputError
from semcentres.hardware import make_fabric, own_device
from semcentres.interrupt import Stopped, Terminated, terminable
from semcentres.messages import Messages, connect, join_round
from semcentres.ranks import Ranks, join, launched, leave
from semcentres.settings import TrainerSettings

TIMEOUT = 300.0  # seconds that processes wait for each other, where no setting says so
PERIOD = 1.0  # seconds between two looks at the store
GRACE = 6.0  # seconds that the others have to answer an alarm
PATIENCE = 10.0  # seconds that a process has to end by itself, less than torchrun's 30
SILENT = "and does not answer"
OURS = Path(__file__).parent
GONE = "torchrun has gone; start it again"
REMEDY = "what was saved is whole, and the same command goes on from it"


class RankLost(InputError):
    """Another process of the training failed, died or hung."""

    exit_code = 6


class Watchdog:
    """What the processes of a training tell each other when something goes wrong.

    Args:
        timeout: seconds that they wait for each other, to be told.
    """

    _told: Messages  # of several processes, when they have found each other

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
        try:
            self._told = join_round()
        except RuntimeError as error:
            raise RankLost(GONE) from error
        over = threading.Event()
        thread = threading.Thread(target=self._answer, args=(over,), daemon=True)
        thread.start()
        try:
            with terminable():
                yield
        except RankLost:
            raise
        except BaseException as error:
            terminated = isinstance(error.__cause__ or error, Terminated)
            if isinstance(error, Stopped) and not terminated:
                raise
            if not terminated and not _is_lost_connection(error):
                self._alarm(f"failed/{self.ranks.rank}", f"{type(error).__name__}: {error}")
                raise
            # torchrun sends it as soon as another has died, and would have nothing said.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._alarm(f"lost/{self.ranks.rank}")
            if not (cause := self._cause(terminated=terminated)):
                raise
            raise RankLost(f"{cause}; {REMEDY}") from error
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
            self._told.add(where, 1)
            self._wait(lambda: bool(self._told.add(where, 0) >= self.ranks.count))

    def wait_for_first(self, key: str) -> str:
        """Return what rank 0 said under a key, however long that takes; errors as of `meet`."""
        self._wait(lambda: self._told.said(key))
        return self._told.read(key)

    def _wait(self, over: Callable[[], bool]) -> None:
        self._rests = True
        while not over():
            self._check()
            time.sleep(0.2)
        self._rests = False
        self._tell_steps()

    def _check(self) -> None:
        if self._told.said("alarm"):
            self._told.say(f"lost/{self.ranks.rank}")
            raise RankLost(f"{self._cause()}; {REMEDY}")
        if os.getppid() != self.ranks.parent:
            raise RankLost(GONE)

    def _tell_steps(self) -> None:
        told = "" if self._rests or not self._steps else str(self._steps)
        self.say(f"steps/{self.ranks.rank}", told)

    def say(self, key: str, text: str) -> None:
        """Tell the others, who wait for it."""
        if self.ranks.count > 1:
            self._told.say(key, text)

    def _alarm(self, key: str, text: str = "") -> None:
        try:
            self._told.say(key, " ".join(text.split()))
            self._told.say("alarm")
        except RuntimeError:
            pass  # torchrun is gone, and with it whoever might have listened

    def _answer(self, over: threading.Event) -> None:
        """Answer an alarm, then see to it that this process ends; done by a thread."""
        next_, seen, since = (self.ranks.rank + 1) % self.ranks.count, "", time.monotonic()
        try:
            self._told.say_process(self.ranks.rank)
            while not self._told.said("alarm"):
                if over.wait(PERIOD):
                    self.say(f"steps/{self.ranks.rank}", "")
                    self.say(f"at/{self.ranks.rank}", "its end")
                    return
                self._tell_steps()
                steps = self._told.read(f"steps/{next_}")
                if steps != seen or not steps:
                    seen, since = steps, time.monotonic()
                elif time.monotonic() - since > self.timeout:
                    self._alarm(f"stalled/{next_}")
            self._alarmed.set()
            self._told.say(f"at/{self.ranks.rank}", _where())
        except RuntimeError:
            pass  # the store is gone with torchrun: this process has to end too
        if not over.wait(PATIENCE):
            at = _where()
            sys.stderr.write(
                f"semcentres: rank {self.ranks.rank}: ended at {at}: {self._cause()}\n"
            )
            sys.stderr.flush()
            os._exit(RankLost.exit_code)

    def _cause(self, *, terminated: bool = False) -> str:
        """Say which ranks are the cause, from what they answer within the time of grace.

        Those of this machine that do not answer are killed: torchrun would wait 30 s for them.
        Where this process was terminated and all answer, none is: SIGTERM was sent to all.
        """
        told, ranks, limit = self._told, range(self.ranks.count), f"{self.timeout:g} s"
        deadline = time.monotonic() + GRACE
        try:
            while time.monotonic() < deadline:
                stalled, failed, at, lost = (
                    {rank: told.read(key) for rank in ranks if told.said(key := f"{word}/{rank}")}
                    for word in ("stalled", "failed", "at", "lost")
                )
                silent = set() if failed else set(ranks) - at.keys() - lost.keys()
                if failed or (terminated and not silent):
                    break
                time.sleep(0.2)
            if terminated and not (failed or silent or stalled):
                return ""
            for rank in silent:
                told.kill(rank)
            killed = {rank for rank in silent if told.said(f"frozen/{rank}")}
        except RuntimeError:
            return "torchrun and its store have gone"
        where = {rank: f"it is at {line}" for rank, line in at.items()}
        if stalled:  # first: what torchrun ends because of it, fails too
            causes = {r: f"has not got on for {limit}, {where.get(r, SILENT)}" for r in stalled}
        elif failed:
            causes = {rank: f"failed with {error}" for rank, error in failed.items()}
        elif silent - killed:
            causes = dict.fromkeys(sorted(silent - killed), "is gone: killed, or its machine is")
        else:
            late = sorted(killed or at.keys() - lost.keys())
            causes = {r: f"has not come within {limit}, {where.get(r, SILENT)}" for r in late}
        if causes:
            return "; ".join(f"rank {rank} {what}" for rank, what in causes.items())
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
            connect(own_device(settings.device), settings.rank_timeout)
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
