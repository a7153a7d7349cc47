"""Two machines, each a torchrun of its own here."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from centre_builders.text_cache import VARIABLE

WORKER = Path(__file__).parent / "decoding_worker.py"
QUICK = [
    "centres=one_hot", "encoder.width=4", "trainer.steps=2", "trainer.labelled_batch=8",
    "trainer.unlabelled_batch=0", "trainer.device=cpu", "data.source.size=8",
]  # fmt: skip


def test_each_machine_decodes_once(tmp_path: Path) -> None:
    """What does not fit into memory; the others of the machine map what one has decoded."""
    pictures, counted, run = (tmp_path / name for name in ("pictures", "counted", "run"))
    counted.mkdir()
    draw = np.random.default_rng(0)
    for name in ("bag", "dress"):
        (pictures / name).mkdir(parents=True)
        for number in range(8):
            pixels = draw.integers(256, size=(8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(pictures / name / f"{number}.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        end = f"127.0.0.1:{free.getsockname()[1]}"
    words = [
        *("-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint={end}", "--local-addr=127.0.0.1"),
        *(str(WORKER), "train", "data=folder", f"data.root={pictures}", f"run_dir={run}", *QUICK),
    ]
    machines = []
    for name in ("one", "other"):
        own = {VARIABLE: str(tmp_path / name), "COUNTED": str(counted), "OMP_NUM_THREADS": "1"}
        machines.append(
            subprocess.Popen(
                [sys.executable, *words], env=os.environ | own, stderr=subprocess.PIPE, text=True
            )
        )
    for machine in machines:
        _, said = machine.communicate(timeout=240)
        assert machine.returncode == 0, said
    # One of each machine, which has decoded as many sets of files as the other.
    decoders = {path.name: path.read_text() for path in counted.iterdir()}
    assert len(decoders) == 2
    assert set(decoders) & {"0", "1"}
    assert set(decoders) & {"2", "3"}
    assert len(set(decoders.values())) == 1
    assert json.loads((run / "metrics.json").read_text())["num_gallery"] > 0
