"""A trained model's predictions, from Python and by the command."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from centre_builders.errors import InputError, UsageError
from centre_builders.sealed import load_sealed, save_sealed
from semcentres.cli import main
from semcentres.compose import load_config
from semcentres.data.readable import find_images, read_images
from semcentres.data.source import ImageSet, Source
from semcentres.index import Index
from semcentres.measure import Assessed
from semcentres.measure_calibration import by_calibration
from semcentres.model import Model
from semcentres.predicting import COLUMNS
from semcentres.prediction import UNCALIBRATED
from semcentres.queries import Pictures
from semcentres.recipe import make_source, make_split
from semcentres.rows import to_csv
from semcentres.weights import WEIGHTS

SMALL = [
    "data=mnist_5k", "centres=word2vec", "encoder.width=4", "objective=centre_softmax",
    "trainer.steps=60", "trainer.learning_rate=0.02", "trainer.warmup_steps=5",
    "trainer.labelled_batch=32", "trainer.unlabelled_batch=0", "trainer.log_every=30",
    "trainer.device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with validation images, assessed with up to three views."""
    place = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", *SMALL, "data.validation=500", f"run_dir={place}"]) == 0
    assert main(["evaluate", f"run_dir={place}", "num_views=3"]) == 0
    return place


@pytest.fixture(scope="module")
def model(run_dir: Path) -> Model:
    return Model.load(run_dir)


@pytest.fixture(scope="module")
def source(run_dir: Path) -> Source:
    return make_source(load_config(run_dir / "config.yaml").data)


def results(run_dir: Path) -> dict:
    return json.loads((run_dir / "metrics.json").read_text())


def test_predictions_follow_from_the_distances(model: Model, source: Source) -> None:
    images = source.test.images[:37]
    found = model.predict(images)
    t = model.calibration.temperature
    z = torch.from_numpy(model.embed(images)).double()
    distances = torch.cdist(z, torch.from_numpy(model.bank.vectors).double()) ** 2
    likely, rows = (-distances / t).softmax(1).sort(dim=1, descending=True)
    assert found.rows.tolist() == rows[:, 0].tolist()
    assert found.runners_up.tolist() == rows[:, 1].tolist()
    assert found.names == [model.bank.names[row] for row in rows[:, 0]]
    assert found.runner_up_names == [model.bank.names[row] for row in rows[:, 1]]
    np.testing.assert_allclose(found.confidences, likely[:, 0].numpy(), rtol=1e-3)
    np.testing.assert_allclose(found.runner_up_confidences, likely[:, 1].numpy(), rtol=1e-3)
    energies = (-t * (-distances / t).logsumexp(1)).numpy()
    np.testing.assert_allclose(found.energies, energies, atol=1e-4)
    assert found.known.tolist() == (found.energies <= model.calibration.threshold).tolist()
    first = next(iter(found))
    assert (first.name, first.known) == (found.names[0], bool(found.known[0]))


def test_no_image_depends_on_its_batch(model: Model, source: Source) -> None:
    """Also in views that are moved, which are drawn for all images alike."""
    images = source.train.images[:1030]  # more than a block
    for views in (1, 3):
        whole = model.predict(images, views=views)
        for row in (0, 7, 1029):
            alone = model.predict(images[row : row + 1], views=views)
            assert alone.rows[0] == whole.rows[row]
            np.testing.assert_allclose(alone.energies[0], whole.energies[row], atol=1e-5)
            assert alone.passes[0] == whole.passes[row]
    assert len(model.predict(images[:0])) == 0


def test_calibration_is_on_images_never_trained_on(
    model: Model, source: Source, run_dir: Path
) -> None:
    config = load_config(run_dir / "config.yaml")
    rows = make_split(config, source).validation
    found = model.predict(source.train.images[rows])
    calibration = model.calibration
    assert calibration.num_images == 500
    assert calibration.calibrated_on.startswith("validation images")
    # At the threshold no more than the stated share of these is rejected, and next to that.
    assert (~found.known).mean() == pytest.approx(0.05, abs=0.003)
    # Any other temperature is worse there.
    z = torch.from_numpy(model.embed(source.train.images[rows])).double()
    distances = torch.cdist(z, torch.from_numpy(model.bank.vectors).double()) ** 2

    def loss(t: float) -> float:
        return torch.nn.functional.cross_entropy(-distances / t, source.train.labels[rows]).item()

    best = calibration.temperature
    assert loss(best) < min(loss(0.9 * best), loss(1.1 * best))


def test_metrics_hold_both_sides_of_the_calibration(model: Model, run_dir: Path) -> None:
    found = results(run_dir)
    assert found["temperature"] == pytest.approx(model.calibration.temperature)
    assert found["temperature_before"] == 1  # this objective has no soft-min
    assert found["nearest_centre_accuracy"] > 0.2
    assert found["negative_log_likelihood"] < found["negative_log_likelihood_before"]
    assert found["false_rejection_rate"] == pytest.approx(0.05, abs=0.05)
    assert "validation" in found["calibrated_on"]
    assert found["calibrated_on"] in (run_dir / "README.md").read_text()
    assert (run_dir / "report" / "reliability.png").is_file()


def test_report_of_views_tells_gain_and_cost(model: Model, source: Source, run_dir: Path) -> None:
    rows = results(run_dir)["views"]
    assert [row["views"] for row in rows] == [1, 2, 3] * 3
    assert (run_dir / "report" / "views.png").is_file()
    labels = source.test.labels.numpy()
    for average in ("embedding", "probability"):
        found = model.predict(source.test.images, views=3, average=average)
        row = next(r for r in rows if (r["average"], r["views"]) == (average, 3))
        assert row["accuracy"] == pytest.approx((found.rows == labels).mean(), abs=1e-3)
        assert row["passes"] == pytest.approx(found.passes.mean(), abs=1e-2)
        assert 1 < row["passes"] <= 3
    assert {row["passes"] for row in rows if row["views"] == 1} == {1}


def test_without_validation_it_says_what_it_rests_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["train", *SMALL, "trainer.steps=3", f"run_dir={tmp_path / 'r'}"]) == 0
    assert caplog.text.count("data.validation=N keeps N images out") == 1
    calibration = Model.load(tmp_path / "r").calibration
    assert "which were trained on" in calibration.calibrated_on
    assert calibration.num_images == 5 * 100


def test_open_set_numbers(model: Model, source: Source) -> None:
    """Noise is of none of the classes; the numbers against sklearn's and against counting."""
    noise = torch.randint(0, 256, (90, 1, 28, 28), dtype=torch.uint8)
    held = ImageSet(source.test.images[:110], source.test.labels[:110])
    z, strange = model.embed(held.images), model.embed(noise)
    shown = Assessed(held, z, "test", Index.build(z), held.labels.numpy())
    found, diagrams = by_calibration(model, shown, strange, 0.3)
    known, novel = model.predict(held.images), model.predict(noise)
    energies = np.concatenate([known.energies, novel.energies])
    wanted = roc_auc_score(np.arange(200) >= 110, energies)
    assert found["open_set_auroc"] == pytest.approx(wanted)
    assert found["open_set_false_accept_rate"] == pytest.approx(novel.known.mean())
    assert found["false_rejection_rate"] == pytest.approx((~known.known).mean())
    assert found["temperature_before"] == 0.3
    assert set(diagrams) == {"before", "after"}
    assert diagrams["after"].error == found["ece"]


def test_a_model_of_before_still_loads(run_dir: Path, tmp_path: Path, source: Source) -> None:
    tensors, metadata, _ = load_sealed(run_dir / WEIGHTS)
    about = json.loads(metadata["about"])
    old = {k: v for k, v in about.items() if k not in ("size", "view", "calibration")}
    save_sealed(tmp_path / WEIGHTS, tensors, {"about": json.dumps(old)})
    (tmp_path / "centres.safetensors").write_bytes((run_dir / "centres.safetensors").read_bytes())
    model = Model.load(tmp_path)
    assert model.calibration is UNCALIBRATED
    images = source.test.images[:50]
    found = model.predict(images)
    assert found.known.all()
    assert found.names == Model.load(run_dir).predict(images).names
    with pytest.raises(InputError, match="no view"):
        model.predict(images, views=2)


def test_added_class_is_predicted_and_saved(model: Model, source: Source, tmp_path: Path) -> None:
    images = source.test.images[:200]
    more = model.add_classes(["zebra"])
    assert model.bank.names == more.bank.names[:-1]
    assert np.array_equal(more.bank.vectors[:-1], model.bank.vectors)
    before, after = model.predict(images), more.predict(images)
    moved = after.rows != before.rows
    assert set(np.array(after.names)[moved]) <= {"zebra"}
    # A further centre only lowers the energy: nothing that was known is rejected.
    assert (after.energies <= before.energies + 1e-6).all()
    assert after.known[before.known].all()
    more.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert again.bank.names == more.bank.names
    assert again.fingerprint == model.fingerprint
    assert again.calibration == model.calibration
    assert again.predict(images).names == after.names
    again.save(tmp_path / "m")  # its own folder may be written again
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        again.save(tmp_path / "m")
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"


def test_other_centres_have_no_calibration(model: Model) -> None:
    assert model.with_bank(model.bank).calibration == model.calibration
    names = model.bank.names[:4]
    assert model.with_bank(model.bank.select(names)).calibration is UNCALIBRATED


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, source: Source) -> Path:
    """Seven digits as PNG, a text that is called one, and a cut one."""
    place = tmp_path_factory.mktemp("pictures")
    for row in range(7):
        pixels = source.test.images[row, 0].numpy()
        Image.fromarray(pixels).save(place / f"{row}.png")
    (place / "a text.png").write_text("no picture")
    (place / "cut.png").write_bytes((place / "0.png").read_bytes()[:100])
    return place


def test_predicts_files_and_names_the_bad_ones(
    pictures: Path,
    run_dir: Path,
    model: Model,
    source: Source,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ["predict", f"run_dir={run_dir}", f"images={pictures}"]
    assert main([*words, "out=csv"]) == 3
    out, err = capfd.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    wanted = model.predict(source.test.images[:7])
    assert list(rows[0]) == list(COLUMNS)
    assert [Path(row["image"]).name for row in rows] == [f"{i}.png" for i in range(7)]
    # Pixels that are written and read, grey to RGB to grey, are the same bytes.
    assert [row["class"] for row in rows] == wanted.names
    assert [row["runner_up"] for row in rows] == wanted.runner_up_names
    sure = [float(row["confidence"]) for row in rows]
    np.testing.assert_allclose(sure, wanted.confidences, rtol=1e-4)
    assert [row["known"] for row in rows] == [str(bool(k)).lower() for k in wanted.known]
    for name in ("a text.png", "cut.png"):
        assert sum(name in message for message in caplog.messages) == 1
    assert "2 of 9 images" in err.splitlines()[-1]


def test_writes_jsonl_and_shows_a_table(
    run_dir: Path, tmp_path: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deep" / "found.jsonl"
    one = f"images=[{pictures}/0.png,{pictures}/3.png]"
    assert main(["predict", f"run_dir={run_dir}", one, f"out={file}", "num_views=3"]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [tuple(row) for row in rows] == [COLUMNS] * 2
    assert isinstance(rows[0]["known"], bool)
    capfd.readouterr()
    assert main(["predict", f"run_dir={run_dir}", "split=validation"]) == 0
    out = capfd.readouterr().out
    assert "and 450 more" in out
    assert "500 validation images" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["images={tmp}/gone"], 3, "gone is neither"),
        (["images={tmp}"], 3, "no images in"),
        (["out=found.txt"], 2, "found.txt"),
        (["num_views=0"], 2, "views=0"),
        (["average=median"], 2, "embedding, distance, probability"),
    ],
)
def test_mistakes(
    words: list[str],
    code: int,
    said: str,
    run_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = [word.format(tmp=tmp_path) for word in words]
    assert main(["predict", f"run_dir={run_dir}", *words]) == code
    assert said in capfd.readouterr().err.splitlines()[-1]


def test_all_files_bad(run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_text("no picture")
    out = tmp_path / "x.csv"
    assert main(["predict", f"run_dir={run_dir}", f"images={tmp_path}", f"out={out}"]) == 3
    assert "none of 1 images" in capfd.readouterr().err
    assert not out.exists()


def test_csv_gives_a_spreadsheet_nothing_to_compute() -> None:
    row = dict.fromkeys(COLUMNS, 0.5) | {"image": "=1+1.png", "class": "@x", "energy": -0.25}
    cells = to_csv([row]).splitlines()[1].split(",")
    assert (cells[0], cells[1], cells[5]) == ("'=1+1.png", "'@x", "-0.25")


def test_reads_batches_in_order(pictures: Path) -> None:
    paths = find_images([pictures])
    parts = list(read_images(paths, size=28, channels=1, batch=4))
    assert [len(good) + len(bad) for good, _, bad in parts] == [4, 4, 1]
    assert [p.name for good, _, _ in parts for p in good] == [f"{i}.png" for i in range(7)]
    assert sum(len(images) for _, images, _ in parts) == 7


def test_takes_files_and_pil_images(model: Model, source: Source, pictures: Path) -> None:
    wanted = model.embed(source.test.images[:7])
    paths = [pictures / f"{row}.png" for row in range(7)]
    opened = [Image.open(path) for path in paths]
    for given in (paths, [str(path) for path in paths], opened, source.test.images[:7].numpy()):
        np.testing.assert_array_equal(model.embed(given), wanted)
    assert model.predict(paths).names == model.predict(source.test.images[:7]).names
    np.testing.assert_array_equal(model.embed(paths[2]), model.embed(source.test.images[2:3]))
    np.testing.assert_array_equal(model.search(opened[1]).rows, model.search(paths[1]).rows)
    turned = Image.fromarray(source.test.images[0, 0].numpy().T[:, ::-1].copy())
    turned.getexif()[0x0112] = 8  # to be turned back by 90 degrees
    np.testing.assert_allclose(model.embed([turned]), wanted[:1], atol=1e-6)
    assert turned.getexif()[0x0112] == 8


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "there are no images"),
        (["none.png"], "none.png is not a readable image"),
        (Image.new("F", (28, 28)), "mode F"),
    ],
)
def test_says_which_image_it_cannot_take(model: Model, images: Pictures, said: str) -> None:
    for ask in (model.embed, model.predict):
        with pytest.raises(InputError, match=said):
            ask(images)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(1, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 3, 28, 28, dtype=torch.uint8),
        torch.zeros(2, 1, 28, 28),
        torch.zeros(2, 1),
    ],
)
def test_refuses_images_of_another_kind(model: Model, images: torch.Tensor) -> None:
    for ask in (model.embed, model.predict):
        with pytest.raises(InputError, match=r"wanted uint8 \[N 1 H W\]"):
            ask(images)


def test_refuses_more_views_than_it_knows(model: Model) -> None:
    with pytest.raises(UsageError, match="views=0"):
        model.predict(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), views=0)
