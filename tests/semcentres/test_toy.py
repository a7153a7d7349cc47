"""Seed note 000's toy: the learnt map is the projection onto the clustered coordinate."""

from pathlib import Path

import semcentres
import torch


def test_toy_learns_the_projection(tmp_path: Path) -> None:
    run, results = semcentres.train("experiment=toy_projection", f"run_dir={tmp_path / 'toy'}")
    (weight,) = semcentres.load(run.path).encoder.backbone.parameters()
    to_x, to_y = torch.linalg.vector_norm(weight.detach(), dim=0).tolist()
    assert to_y < 0.01 * to_x
    assert results["nearest_centre_accuracy"] == 1.0
    assert (run.report / "toy.png").is_file()
