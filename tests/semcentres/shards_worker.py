"""Each of the processes that search shards: `torchrun ... shards_worker.py FOLDER [FAULT OUT]`.

With a fault it is `retrieve` among the embeddings in the folder.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor

from semcentres import cli, retrieving
from semcentres.index import Index
from semcentres.settings import TrainerSettings
from semcentres.shards import Shard, Shards
from semcentres.watchdog import together

TIMEOUT = 8.0  # seconds


def main(folder: Path) -> None:
    """Search together, and count what is sent."""
    sent = 0
    broadcast, gather = dist.broadcast, dist.gather

    def counted(send: object) -> object:
        def counting(tensor: Tensor, *rest: object, **more: object) -> None:
            nonlocal sent
            sent += tensor.nbytes
            send(tensor, *rest, **more)  # type: ignore[operator]

        return counting

    with together(TrainerSettings(device="cpu")) as others:
        for path in folder.glob("*.npy"):
            rows, ranks = np.load(path), others.ranks
            starts = range(ranks.rank * 15, len(rows), ranks.count * 15)
            own = [Shard(start, Index.over(rows[start : start + 15])) for start in starts]
            shards = Shards(own, *rows.shape, ranks)
            dist.broadcast, dist.gather = counted(broadcast), counted(gather)
            sent = 0
            with shards.shared() as searches:
                if searches:
                    found = shards.search(rows[:23], 9, exclude=np.arange(23))
                    np.savez(path.with_suffix(".npz"), ids=found.ids, cosines=found.cosines)
                    path.with_suffix(".sent").write_text(str(sent))
            dist.broadcast, dist.gather = broadcast, gather


def faulty(folder: str, fault: str, out: str) -> int:
    """Retrieve; in the second process, the first search ends it or never ends."""
    own = Shards._own

    def failing(self: Shards, *rest: Any) -> np.ndarray:  # noqa: ANN401
        if self._ranks.rank == 1:
            Path(out).with_suffix(".pid").write_text(str(os.getpid()))
            if fault.startswith("killed"):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)
        if fault == "killed early":
            time.sleep(2)  # torchrun's SIGTERM comes first, and the lost connection after it
        return own(self, *rest)

    Shards._own = failing  # type: ignore[method-assign]
    retrieving.TrainerSettings = partial(TrainerSettings, rank_timeout=TIMEOUT)  # type: ignore[assignment, misc]
    return cli.main(["retrieve", f"embeddings={folder}", f"out={out}"])


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(faulty(*sys.argv[1:]))
    main(Path(sys.argv[1]))
