"""A comparison: every combination trained once, gathered as the runs themselves say."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from centre_builders.errors import InputError, UsageError
from semcentres.cli import main
from semcentres.compare import Comparison, compare
from semcentres.evaluation.report import draw_comparison

TINY = [
    "data=mnist_5k", "encoder.width=4", "trainer.steps=3", "trainer.labelled_batch=8",
    "trainer.unlabelled_batch=8", "trainer.device=cpu", "centres.dimension=12",
]  # fmt: skip


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    place = tmp_path_factory.mktemp("c")
    return compare([*TINY, "centres=one_hot,word2vec", "seed=0,1", f"out={place}"])


def test_rows_are_what_the_runs_say(comparison: Comparison) -> None:
    assert comparison.axes == ("centres",)
    assert [comparison.name(row) for row in comparison.rows] == ["one_hot", "word2vec"]
    for row in comparison.rows:
        kind = row["words"]["centres"]
        told = [
            json.loads((comparison.folder / f"{kind}-seed{seed}" / "metrics.json").read_text())
            for seed in (0, 1)
        ]
        accuracies = [results["nearest_centre_accuracy"] for results in told]
        assert [results["seed"] for results in told] == [0, 1]
        assert all(results["builder"].split(".")[1] == kind for results in told)
        wanted = (statistics.mean(accuracies), statistics.stdev(accuracies))
        assert comparison.cell(row, "nearest_centre_accuracy") == pytest.approx(wanted)
    assert "zero_shot_top_1" not in comparison.columns()
    assert {"nearest_centre_accuracy", "max_cosine", "build_seconds"} <= set(comparison.columns())


def test_stopped_comparison_goes_on(
    comparison: Comparison, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is trained is not trained again; a new choice is added to it."""
    weights = comparison.folder / "one_hot-seed0" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    words = [*TINY, "centres=one_hot,random_orthogonal", f"out={comparison.folder}"]
    assert main(["compare", *words]) == 0
    assert weights.stat().st_mtime_ns == before
    out = capsys.readouterr().out
    assert "random_orthogonal" in out
    assert "accuracy" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["centres=one_hot"], "several choices"),
        (["centres=one_hot,glove"], "no such centres"),
        (["centres=one_hot,word2vec", "trainer.step=3"], "trainer.steps"),
        (["centres=one_hot,"], "centres=one_hot,"),
    ],
)
def test_wrong_words_train_nothing(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        compare([*TINY, *words, f"out={tmp_path / 'c'}"])
    assert not (tmp_path / "c").exists()


def test_figure_has_a_bar_a_row(tmp_path: Path) -> None:
    """A longer bar has more blue pixels; a value that is not possible has none."""
    panels = {"a": [(0.2, 0.0), (0.8, 0.1), None]}
    draw_comparison(["x", "y", "z"], panels, tmp_path / "f.png")
    pixels = np.asarray(Image.open(tmp_path / "f.png").convert("RGB")).astype(int)
    blue = (np.abs(pixels - (0, 0x72, 0xB2)).sum(axis=2) < 30).sum(axis=1)
    rows = np.flatnonzero(blue > 20)
    bands = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    assert len(bands) == 2
    assert blue[bands[1]].max() > 3 * blue[bands[0]].max()
    with pytest.raises(InputError, match="nothing to compare"):
        draw_comparison([], {}, tmp_path / "g.png")
