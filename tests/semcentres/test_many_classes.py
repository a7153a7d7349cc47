"""Tests that measuring thousands of classes makes no array of K x K numbers."""

import tracemalloc
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import semcentres
from semcentres import measure
from semcentres.data.mnist_5k import mnist_5k
from semcentres.evaluation import knn
from semcentres.evaluation.classification import classify
from semcentres.evaluation.knn import knn_predict
from semcentres.measure import Embedded
from semcentres.objectives.paws import smoothed_labels, soft_neighbours


class Largest(TorchFunctionMode):
    """Keeps how many numbers the largest tensor has that is made within."""

    numel = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numel = max(self.numel, made.numel())
        return made


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
    with Largest() as largest:
        assert measure._soft_neighbours(asked, taught, 7).tolist() == near.argmax(dim=1).tolist()
    assert largest.numel == 200


def test_votes_among_many_classes_are_of_few_queries_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    ids, cosines = rng.integers(0, 40, (500, 3)), rng.uniform(-1, 1, (500, 3))
    ask = partial(knn_predict, ids, cosines, rng.integers(0, 1000, 40), num_classes=1000)
    found = []
    for most in (2**24, 10_000):
        monkeypatch.setattr(knn, "MAX_VOTES", most)
        tracemalloc.start()
        answers = ask().tolist()
        found.append((answers, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    (whole, large), (parts, small) = found
    assert parts == whole
    assert small < 500_000 < 4_000_000 < large  # bytes; all votes have 4 million


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
    assert "confusion" not in results
    assert results["mistake_severity"] == 1.0  # which takes no matrix
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
