"""A sweep by Hydra's ray launcher as docs/many_machines.md has it, where its extra is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semcentres.compose import load_config

pytest.importorskip(
    "hydra_plugins.hydra_ray_launcher", reason="the extra sweep needs an environment of its own"
)

SCRIPT = Path(__file__).parents[2] / "scripts" / "sweep.py"
WORDS = [
    "hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2", "data=mnist_5k",
    "encoder.width=4", "trainer.steps=6", "trainer.labelled_batch=16",
    "trainer.unlabelled_batch=16", "trainer.device=cpu", "centres=one_hot,random_orthogonal",
]  # fmt: skip


def test_rays_launcher_trains_each_combination_and_goes_on(tmp_path: Path) -> None:
    folders = [f"hydra.sweep.dir={tmp_path / 'hydra'}", f"run_dir={tmp_path}/${{hydra:job.num}}"]
    command = [sys.executable, str(SCRIPT), "-m", *WORDS, *folders]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    runs = [tmp_path / "0", tmp_path / "1"]
    times = []
    for _ in range(2):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=540)
        assert done.returncode == 0, done.stderr
        times.append([(run / "metrics.json").stat().st_mtime_ns for run in runs])
    assert times[0] == times[1]  # what is finished is not trained again
    builders = [load_config(run / "config.yaml").centres.builder["_target_"] for run in runs]
    assert [name.rpartition(".")[2] for name in builders] == ["OneHot", "RandomOrthogonal"]
    assert all("knn_accuracy" in json.loads((run / "metrics.json").read_text()) for run in runs)
    late = ["trainer.steps=100000", "max_time=00:00:01", "restart=true"]
    done = subprocess.run([*command, *late], env=quiet, capture_output=True, text=True, timeout=540)
    assert done.returncode == 75, done.stderr
    assert "sweep.py: stopped by max_time after step" in done.stderr
