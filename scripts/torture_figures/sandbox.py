"""Reading hostile files in a child: what it does is seen, and what it breaks is only itself.

The child is forked and not started, so that it has all imports; the parent must not have used
threads. It has one GiB more memory than it came with, ten seconds a file, and an audit hook that
sees programs started, pickles opened, files written outside its folder and the canary touched.
"""

import os
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from centre_builders.errors import InputError

MORE_MEMORY = 2 << 30  # bytes; Arrow and others set aside far more than they use
PATIENCE = 10  # seconds of the processor a file, and thirty times as many by the clock
RUNS_CODE = {
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "os.startfile",
    "subprocess.Popen", "pickle.find_class", "socket.connect", "shutil.rmtree",
}  # fmt: skip
BAD = ("different", "uncaught", "unnamed", "executed", "crash", "hang")
MARKER = "it-ran"  # a file within a trial's folder, left there by code that ran
CANARY = "canary"  # one that is there to be read or removed by code that should not run
SHOWN = 5  # faults that are told in full

# A trial: its number and a folder to itself, to what was read, as text that is equal if it is.
Trial = Callable[[int, Path], str]


def outcomes(
    trial: Trial, num: int, wanted: str | None = None, told_of: Collection[str] = BAD
) -> dict[str, Any]:
    """Return how often trials ended in which way, and the first faults in full.

    same, different: what was read, against `wanted`; read: where nothing is wanted
    refused, unnamed: an InputError that names the trial's folder, or does not
    uncaught: another exception; executed: code ran; crash, hang: the child died, or had to

    Args:
        trial: what is tried.
        num: how often.
        wanted: what the unchanged file gives.
        told_of: outcomes that are faults.
    """
    counts, faults, number = Counter[str](), [], 0
    while number < num:
        for outcome, told in _child(trial, number, num, wanted):
            counts[outcome] += 1
            if outcome in told_of:
                faults.append(f"{outcome}, trial {number}: {told}")
            number += 1
    return {**counts, **({"faults": faults[:SHOWN]} if faults else {})}


def answer_of(trial: Trial) -> str:
    """Return what one trial reads, in a child."""
    ((outcome, told),) = _child(trial, 0, 1, None)
    if outcome != "read":
        raise RuntimeError(f"the unchanged file is {outcome}: {told}")
    return told


def in_child(work: Callable[[], object]) -> None:
    """Do work in a child that is not watched, so that this process begins no threads."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the child failed, see above")


def _child(trial: Trial, first: int, num: int, wanted: str | None) -> Iterator[tuple[str, str]]:
    """Yield outcome and text of the trials from `first` on, until all are done or one ends it."""
    read, write = os.pipe()
    with TemporaryDirectory(prefix="torture-") as folder:
        pid = os.fork()
        if pid == 0:
            try:
                _serve(trial, range(first, num), wanted, Path(folder), write)
            finally:
                os._exit(1)  # never on into what the parent does
        os.close(write)
        done = first
        with os.fdopen(read) as lines:
            for line in lines:
                outcome, _, told = line.rstrip("\n").partition("\t")
                done += 1
                yield outcome, told
        number = os.WTERMSIG(os.waitpid(pid, 0)[1])
        if done < num:
            yield (
                ("hang" if number in (signal.SIGALRM, signal.SIGPROF) else "crash"),
                f"signal {number}",
            )


def _serve(trial: Trial, numbers: range, wanted: str | None, folder: Path, pipe: int) -> NoReturn:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    seen: list[str] = []
    _watch(folder, seen)
    for number in numbers:
        place = folder / str(number)
        place.mkdir()
        _wait(PATIENCE)
        outcome, told = _outcome(trial, number, place, wanted)
        _wait(0)
        if seen or (place / MARKER).exists():
            outcome, told = "executed", " ".join(seen) or "it left the marker"
        line = f"{outcome}\t{' '.join(told.split())[:500]}\n"
        os.write(pipe, line.encode(errors="replace"))
        shutil.rmtree(place)
        seen.clear()
    os._exit(0)


def _wait(seconds: float) -> None:
    """End this process after so much work, or thirty times as long; 0 lifts that."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(30 * int(seconds))


def _outcome(trial: Trial, number: int, place: Path, wanted: str | None) -> tuple[str, str]:
    try:
        found = trial(number, place)
    except InputError as error:
        return ("refused" if str(place) in str(error) else "unnamed"), str(error)
    except BaseException as error:
        return "uncaught", f"{type(error).__name__}: {error}"
    if wanted is None:
        return "read", found
    return ("same" if found == wanted else "different"), found[:200]


def _watch(folder: Path, seen: list[str]) -> None:
    """Note what runs code, writes outside of a folder, or reads or removes the canary."""
    inside = (str(folder), "/dev/null")

    def hook(event: str, given: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(given[1], str) and set(given[1]) & set("wax+")
        if event in ("open", "shutil.rmtree") and not writes and str(given[0]).endswith(CANARY):
            seen.append(f"{event} {given[0]}")
        elif event == "shutil.rmtree" or writes:
            if not str(given[0]).startswith(inside) and not isinstance(given[0], int):
                seen.append(f"{event} {given[0]}")
        elif event in RUNS_CODE:
            seen.append(f"{event} {given!r:.100}")

    sys.addaudithook(hook)
