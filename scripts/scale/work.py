"""One of the processes that measure: `-m scale.work WHAT JSON OUT`, by itself or under torchrun."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scale.model import Workload

SCRIPTS = Path(__file__).resolve().parents[1]
NONE = Workload(0, 0, 0, "")
Found = dict[str, Any]


def started(what: str, ranks: int, load: Workload = NONE) -> list[Found]:
    """Return what each of so many processes of one thread finds."""
    with tempfile.TemporaryDirectory() as folder:
        given = json.dumps(asdict(load))
        launch = ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}"] if ranks > 1 else []
        command = [sys.executable, *launch, "-m", "scale.work", what, given, folder]
        more = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPTS)}
        subprocess.run(command, check=True, env=os.environ | more)
        return [json.loads((Path(folder) / str(rank)).read_text()) for rank in range(ranks)]


def main(what: str, given: str, out: Path) -> None:
    """Do it, and write what was found."""
    import torch

    from scale import between, constants, runs
    from semcentres.ranks import launched
    from semcentres.settings import TrainerSettings
    from semcentres.watchdog import together

    torch.set_num_threads(1)
    load = Workload(**json.loads(given))
    with together(TrainerSettings(device="cpu", shard=load.shard)) as others:
        work: dict[str, Callable[[], Found]] = {
            "constants": constants.constants,
            "encoder": lambda: constants.of_encoder(load.encoder),
            "collectives": between.collectives,
            "joint": lambda: {
                "said": between.collectives(),
                **{name: between.joint(name) for name in constants.ENCODERS},
            },
            "training": lambda: runs.training(load),
            "collection": lambda: runs.collection(load, others.ranks),
        }
        found = work[what]()
    (out / str(launched()[0])).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
