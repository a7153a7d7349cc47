"""What is started beside the tests of engines: `python engines_worker.py WHAT FOLDER WORD...`.

WHAT is ray, torchrun, connected, or what a process of torchrun suffers while it embeds.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from centre_builders import disk
from centre_builders.errors import InputError
from semcentres import engines, sharding, unembedded
from semcentres.cli import main
from semcentres.engines import each_part
from semcentres.model import Model
from semcentres.settings import TrainerSettings
from semcentres.watchdog import Watchdog, together

NUM = 5
SLOW, TIMEOUT = 1.5, 6.0  # seconds of an image, and without one


@dataclass(frozen=True)
class Faulty:
    """Begins a work that writes which process did a part, and has a fault at part 2."""

    folder: Path
    fault: str

    def __call__(self) -> Callable[[int], None]:
        return self.work

    def work(self, number: int) -> None:
        with (self.folder / f"{self.fault}{number}").open("a") as file:
            file.write(f"{os.getpid()}\n")
        tried = len((self.folder / f"{self.fault}{number}").read_text().splitlines())
        if number == 2 and self.fault == "raising":
            raise InputError("image 7 cannot be read")
        if number == 2 and (self.fault == "dying" or tried == 1):
            os.kill(os.getpid(), signal.SIGKILL)


def by_ray(folder: Path, words: list[str]) -> int:
    """Embed, then do parts with faults, by one local cluster, and by one without processors."""
    import ray

    local = {"include_dashboard": False, "log_to_driver": False, "_node_ip_address": "127.0.0.1"}
    ray.init(num_cpus=2, **local)
    code = main([*words, "engine=ray"])
    found = {}
    engines.RETRIES = 1  # an actor takes seconds to begin
    for fault in ("killed", "dying", "raising", "none"):
        if fault == "none":
            ray.shutdown()
            ray.init(num_cpus=0, **local)
        start = Faulty(folder, fault)
        try:
            found[fault] = str(sorted(each_part("ray", range(NUM), start(), start)))
        except InputError as error:
            found[fault] = str(error)
    (folder / "found.json").write_text(json.dumps(found))
    return code


def by_torchrun(folder: Path, words: list[str]) -> int:
    """Embed; the second process is killed, the first time, when it has written half of a part."""
    write = sharding.write_part

    def killed(place: Path, number: int, *rest: object) -> None:
        parts = folder / f"rank{os.environ['RANK']}"
        first = not parts.exists()
        parts.open("a").write(f"{number} ")
        if first and os.environ["RANK"] == "1":
            (place / f"part-{number:05d}.npy").write_bytes(b"half")
            half = f".tmp-part-{number:05d}.parquet-{disk._machine()}-{os.getpid()}"
            (place / half).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write(place, number, *rest)

    sharding.write_part = killed  # type: ignore[assignment]
    return main([*words, "engine=torchrun"])


def connected(folder: Path, words: list[str]) -> int:
    """As `by_torchrun`, by processes that have had a connection before, at each attempt."""
    with together(TrainerSettings(device="cpu", rank_timeout=60.0)) as others:
        others.ranks.wait()
    return by_torchrun(folder, words)


def slowly(fault: str, folder: Path, words: list[str]) -> int:
    """Embed image by image, a part taking longer than the time-out; one process has a fault."""
    rank, embed = os.environ["RANK"], Model.embed

    def slow(self: Model, *rest: object) -> object:
        (folder / f"pid{rank}").write_text(str(os.getpid()))
        if fault == "hung" and rank == "1":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's does not get through
            time.sleep(1000)
        if fault == "frozen" and rank == "1":
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(SLOW)
        return embed(self, *rest)

    Model.embed = slow  # type: ignore[assignment, method-assign]
    unembedded.BATCH = 1
    sharding.Watchdog = partial(Watchdog, TIMEOUT)  # type: ignore[assignment, misc]
    return main([*words, "engine=torchrun"])


if __name__ == "__main__":
    what, place, *more = sys.argv[1:]
    known = {"ray": by_ray, "torchrun": by_torchrun, "connected": connected}
    sys.exit(known.get(what, partial(slowly, what))(Path(place), more))
