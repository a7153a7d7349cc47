"""Each of the processes that search shards together: `torchrun ... shards_worker.py FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import torch.distributed as dist
from torch import Tensor

from semcentres.index import Index
from semcentres.settings import TrainerSettings
from semcentres.shards import Shard, Shards
from semcentres.watchdog import together


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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
