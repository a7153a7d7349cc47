"""Two processes of torchrun that train together, stopped in some way, and begun again.

    torchrun --nproc-per-node=2 two_ranks.py FOLDER [HOW DONE]

Each writes `ended-RANK`: its exit code, the step it began at, a hash of its weights.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

from centre_builders.errors import InputError
from semcentres.checkpoint import RunFolder
from semcentres.interrupt import Stopped
from semcentres.ranks import launched
from semcentres.settings import TrainerSettings
from semcentres.watchdog import RankLost, together
from torture_figures.stopping import (
    CODES,
    EVERY,
    STEPS,
    first_step,
    goes_on_from,
    hash_of,
    limit_of,
    stop_at,
)
from torture_figures.tiny_run import ABOUT, make_trainer

NUM = 2
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={NUM}"]


def compare(place: Path, ways: Sequence[tuple[str, int]]) -> list[str]:
    """Return what is different after each way to stop, a way and the steps that are then done.

    All trainings run at once; they wait for each other more than they compute.
    """
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(_start, place / "whole")
        ended = list(pool.map(lambda way: _stop(place / way[0], *way), ways))
    wanted, different = whole.result(), []
    for (how, done), (stopped, again) in zip(ways, ended, strict=True):
        expected = {rank: [0, goes_on_from(how, done), *one[2:]] for rank, one in wanted.items()}
        # The first process, which saves, is killed; the other loses it.
        codes = (
            {1: RankLost.exit_code} if how == "kill -9" else dict.fromkeys(range(NUM), CODES[how])
        )
        found = {rank: one[0] for rank, one in stopped.items()}
        if again != expected or found != codes or len(wanted) != NUM:
            different.append(f"two processes, {how}: {stopped}, {again}, {expected}")
    return different


Ended = dict[int, list[Any]]  # of each process that came to its end


def _stop(folder: Path, how: str, done: int) -> tuple[Ended, Ended]:
    return _start(folder, how, str(done)), _start(folder)


def _start(folder: Path, *stop: str) -> Ended:
    folder.mkdir(exist_ok=True)
    for path in folder.glob("ended-*"):
        path.unlink()
    words = [sys.executable, *TORCHRUN, __file__, str(folder), *stop]
    search = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    env = os.environ | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    subprocess.run(words, env=env, capture_output=True, check=False, timeout=600)
    return {int(path.name[-1]): json.loads(path.read_text()) for path in folder.glob("ended-*")}


def main(folder: Path, how: str = "", done: str = "-1") -> None:
    """Train as one of the processes."""
    code, run = 0, RunFolder(folder / "run")
    try:
        with together(TrainerSettings(device="cpu", rank_timeout=60.0)):
            trainer = make_trainer(steps=STEPS, every=EVERY)
            stop_at(trainer, int(done), how)
            began = first_step(trainer)
            trainer.fit(run, about=ABOUT, max_seconds=limit_of(how))
    except (Stopped, InputError) as error:
        code = error.exit_code
    hashes = [hash_of(trainer), sha256(run.records_file.read_bytes()).hexdigest()]
    (folder / f"ended-{launched()[0]}").write_text(json.dumps([code, *began, *hashes]))
    sys.exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
