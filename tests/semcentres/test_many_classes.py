"""Tests that measuring thousands of classes makes no array of K x K numbers."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import semcentres
from semcentres import measure
from semcentres.data.mnist_5k import mnist_5k
from semcentres.evaluation.classification import classify
from semcentres.measure import Embedded
from semcentres.objectives.paws import smoothed_labels, soft_neighbours


def test_agreement_of_6000_classes_takes_no_matrix() -> None:
    labels = np.arange(6000)
    tracemalloc.start()
    found = classify(labels // 2 * 2, labels, num_classes=6000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.accuracy, found.confusion) == (0.5, None)
    assert found.per_class.tolist() == [1.0, 0.0] * 3000
    assert peak < 2_000_000  # bytes; the matrix has 288 million


def test_votes_by_label_are_those_of_one_hot_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    asked, rows = (rng.standard_normal((n, 5)).astype(np.float32) for n in (23, 40))
    taught = Embedded(rows, rows[:, :0], rng.integers(0, 7, 40))
    one_hot = smoothed_labels(torch.from_numpy(taught.labels), num_classes=7, smoothing=0.0)
    near = soft_neighbours(*map(torch.from_numpy, (asked, rows)), one_hot, temperature=0.1)
    monkeypatch.setattr(measure, "MAX_HELD", 200)
    assert measure._soft_neighbours(asked, taught, 7).tolist() == near.argmax(dim=1).tolist()


def test_a_training_of_many_classes_is_assessed_without_matrices(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "semcentres")
    monkeypatch.setattr("semcentres.evaluation.classification.MAX_MATRIX", 9)
    digits = mnist_5k()
    parents = dict.fromkeys(digits.class_names, "digit")
    run, results = semcentres.train(
        "data=mnist_5k", "centres=one_hot", "encoder.width=4", "trainer.steps=2",
        "trainer.labelled_batch=8", "trainer.unlabelled_batch=0", "trainer.device=cpu",
        f"run_dir={tmp_path / 'run'}", source=replace(digits, parents=parents),
    )  # fmt: skip
    assert not {"confusion", "mistake_severity"} & results.keys()
    assert "no measures of the hierarchy" in caplog.text
    card = (run.path / "README.md").read_text()
    for name in ("gram", "confusion"):
        assert not (run.report / f"{name}.png").exists()
        assert f"{name}.png" not in card
    assert "10 classes are too many for a matrix" in caplog.text


def test_a_bank_of_many_classes_is_not_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "semcentres")
    for most, drawn in ((3, True), (2, False)):
        monkeypatch.setattr("semcentres.evaluation.classification.MAX_MATRIX", most)
        report = tmp_path / str(most)
        semcentres.centres("centres=one_hot", "names=[a,b,c]", f"report={report}")
        assert (report / "bank.png").exists() == drawn
    assert "no bank.png: 3 classes" in caplog.text
