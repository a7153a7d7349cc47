"""A comparison: every combination trained once, gathered as the runs themselves say."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from centre_builders.errors import InputError
from semcentres.cli import main
from semcentres.comparing import _read, compare
from semcentres.comparison import COSTS, Comparison, Row
from semcentres.evaluation.report import draw_comparison, draw_race

TINY = [
    "data=mnist_5k", "encoder.width=4", "trainer.steps=3", "trainer.labelled_batch=8",
    "trainer.unlabelled_batch=8", "trainer.device=cpu", "centres.dimension=12",
    "data.labels_per_class=5", "data.validation=100", "trainer.checkpoint_every=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    place = tmp_path_factory.mktemp("c")
    return compare([*TINY, "centres=one_hot,word2vec", "seed=0,1", f"out={place}"])


def test_rows_are_what_the_runs_say(comparison: Comparison) -> None:
    assert comparison.axes == ("centres",)
    assert [row.name for row in comparison.rows] == ["one_hot", "word2vec"]
    for row in comparison.rows:
        kind = row.words["centres"]
        told = [
            json.loads((comparison.folder / f"{kind}-seed{seed}" / "metrics.json").read_text())
            for seed in (0, 1)
        ]
        accuracies = [results["nearest_centre_accuracy"] for results in told]
        assert [results["seed"] for results in told] == [0, 1]
        assert all(results["builder"].split(".")[1] == kind for results in told)
        wanted = (statistics.mean(accuracies), statistics.stdev(accuracies))
        assert row.cell("nearest_centre_accuracy") == pytest.approx(wanted)
    assert "zero_shot_top_1" not in comparison.columns
    assert {"nearest_centre_accuracy", "max_cosine", "build_seconds"} <= set(comparison.columns)


def test_curves_are_what_the_runs_logged(comparison: Comparison) -> None:
    for row in comparison.rows:
        logs = [
            (comparison.folder / f"{row.name}-seed{seed}" / "metrics.jsonl").read_text()
            for seed in (0, 1)
        ]
        records = [
            [r for r in map(json.loads, log.splitlines()) if "probe_accuracy" in r] for log in logs
        ]
        assert [at["step"] for at in row.curve] == [(2, 0), (3, 0)]
        assert [at["image_crops"] for at in row.curve] == [(2 * 16 * 2, 0), (3 * 16 * 2, 0)]
        for number, at in enumerate(row.curve):
            for key in ("seconds", "accuracy"):
                values = [r[number][row.classifier if key == "accuracy" else key] for r in records]
                assert at[key] == pytest.approx((statistics.mean(values), statistics.stdev(values)))
    with Image.open(comparison.folder / "race.png") as picture:
        assert picture.width > 2 * picture.height


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
    assert "nearest centre" in out


def a_row(name: str, ends: dict[str, float], report: dict[str, float], rate: float) -> Row:
    """Two seeds whose accuracies grow evenly over ten checkpoints of a second each."""
    runs = [
        {
            "seed": seed,
            "results": report,
            "curve": [
                {"step": 10 * t, "image_crops": 80 * t, "seconds": t / rate}
                | {key: end * t / 10 + bend for key, end in ends.items()}
                for t in range(1, 11)
            ],
        }
        for seed, bend in enumerate((-0.01, 0.01))
    ]
    return Row({"method": name}, tuple(runs))


def test_each_row_is_judged_by_what_is_best_on_held_out_images() -> None:
    """Never by what is best on the images of the report."""
    ends = {"validation_accuracy": 0.6, "probe_accuracy": 0.7, "feature_probe_accuracy": 0.5}
    report = {
        "nearest_centre_accuracy": 0.1, "probe_accuracy": 0.2, "feature_probe_accuracy": 0.9,
    }  # fmt: skip
    row = a_row("a", ends, report, rate=1.0)
    assert row.classifier == "probe_accuracy"
    assert row.cell("accuracy") == (0.2, 0.0)
    assert row.curve[-1]["accuracy"] == pytest.approx((0.7, statistics.stdev([-0.01, 0.01])))


def test_what_it_costs_to_reach_another(tmp_path: Path) -> None:
    ends = dict.fromkeys(("validation_accuracy",), 0.8)
    report = {"nearest_centre_accuracy": 0.8}
    slow, fast = a_row("slow", ends, report, 1.0), a_row("fast", ends, report, 4.0)
    weak = a_row("weak", {"validation_accuracy": 0.5}, report, 4.0)
    found = Comparison(tmp_path, ("method",), (slow, fast, weak)).reached()
    wanted = {"step": [100, 100], "image_crops": [800, 800], "seconds": [2.5, 2.5]}
    assert found["slow"]["fast"] == wanted
    assert not any(found["slow"]["weak"].values())
    wanted = {"step": [70, 70], "image_crops": [560, 560], "seconds": [7, 7]}
    assert found["weak"]["slow"] == wanted
    told = Comparison(tmp_path, ("method",), (slow, fast, weak)).markdown()
    assert "| fast | 2 (100) | 2 (100) | 2 (70) |" in told
    assert "| weak | - | - | 2 (100) |" in told


def test_race_has_a_line_a_row_in_each_panel(tmp_path: Path) -> None:
    """The better row's line stands above the other's, at the left half of the picture and right."""
    blue, orange = (0, 0x72, 0xB2), (0xE6, 0x9F, 0)
    ends = ({"validation_accuracy": 0.9}, {"validation_accuracy": 0.5})
    rows = [a_row(f"r{i}", end, {}, 1.0) for i, end in enumerate(ends)]
    draw_race(["r0", "r1"], [row.curve for row in rows], COSTS, tmp_path / "r.png")
    pixels = np.asarray(Image.open(tmp_path / "r.png").convert("RGB")).astype(int)
    width = pixels.shape[1]
    for part in (slice(0, width // 3), slice(width // 3, 2 * width // 3), slice(-width // 3, None)):
        heights = [
            np.argwhere(np.abs(pixels[:, part] - colour).sum(axis=2) < 30)[:, 0].min()
            for colour in (blue, orange)
        ]
        assert heights[0] < heights[1] - 20


def test_axes_come_from_an_experiment_or_a_list(tmp_path: Path) -> None:
    """The experiment's methods and seeds are taken, and a list in place of commas."""
    words = [*TINY, "experiment=compare_small", f"out={tmp_path}"]
    _, axes, rest = _read(words)
    assert axes["method"][:1] == ["supervised"]
    assert axes["seed"] == ["1", "2"]
    assert rest == words[:-1]
    _, axes, _ = _read([*words, "methods=[paws,pcl]", "seed=4"])
    assert axes == {"method": ["paws", "pcl"], "seed": ["4"]}
    _, axes, _ = _read(["objectives=[fixmatch,paws]", "seeds=[1,2]"])
    assert axes == {"objective": ["fixmatch", "paws"], "seed": ["1", "2"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["centres=one_hot"], "several choices"),
        (["centres=one_hot,glove"], "no such centres"),
        (["centres=one_hot,word2vec", "trainer.step=3"], "trainer.steps"),
        (["centres=one_hot,"], "centres=one_hot,"),
        (["objectives=[fixmatch,paws]", "objective.sharpness=-1"], "sharpness"),
        (["centres=one_hot,word2vec", "objective.temperature=3.0"], "is above"),
    ],
)
def test_wrong_words_train_nothing(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
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
