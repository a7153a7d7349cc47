"""Seed note 000's toy: the learnt map is the projection onto the clustered coordinate."""

from pathlib import Path

import torch

import semcentres


def test_toy_learns_the_projection(tmp_path: Path) -> None:
    run, results = semcentres.train("experiment=toy_projection", f"run_dir={tmp_path / 'toy'}")
    (weight,) = semcentres.load(run.path).encoder.backbone.parameters()
    to_x, to_y = weight.detach()[:, :2], weight.detach()[:, 2]
    least_to_x = torch.linalg.svdvals(to_x).min()
    assert torch.linalg.vector_norm(to_y) < 0.01 * least_to_x
    assert results["nearest_centre_accuracy"] == 1.0
    assert (run.report / "toy.png").is_file()
