"""Adversarial training, the Lipschitz encoder in a run, and the verb `robustness`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from centre_builders.errors import UsageError
from semcentres.cli import main
from semcentres.components import build
from semcentres.compose import compose_settings
from semcentres.data.mnist_5k import mnist_5k
from semcentres.data.stream import Stream
from semcentres.encoder import Encoder, small_conv
from semcentres.lipschitz import lipschitz_conv
from semcentres.measure_robustness import scores_over
from semcentres.model import Model
from semcentres.objectives.adversarial import Adversarial, Attacking
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.centre_softmax import CentreSoftmax
from semcentres.objectives.cluster_energy import ClusterEnergy
from semcentres.robustness.attacks import Norm, attack, gap, least_gap
from semcentres.settings import TrainerSettings
from semcentres.task import Task
from semcentres.trainer import Trainer
from semcentres.views import RandomView, plain

SMALL = [
    "data=mnist_5k", "data.labels_per_class=null", "centres=one_hot", "centres.dimension=16",
    "views=similarity", "encoder=lipschitz", "encoder.width=8", "objective=centre_softmax",
    "objective.sharpness=5.0", "trainer.steps=60", "trainer.learning_rate=0.02",
    "trainer.warmup_steps=5", "trainer.labelled_batch=64", "trainer.unlabelled_batch=0",
    "trainer.weight_decay=0.0", "trainer.ema_decay=0.8", "trainer.device=cpu",
]  # fmt: skip


def images(num: int = 12, seed: int = 0) -> Tensor:
    return torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def small() -> Encoder:
    torch.manual_seed(0)
    return Encoder(small_conv(channels=1, dimension=6, width=4), mean=[0.3], std=[0.4])


def test_lengths_are_kept_in_training_and_are_lipschitz() -> None:
    encoder = lipschitz_conv(channels=1, dimension=6, width=4, size=8, gain=0.3).encoder(
        ([0.5], [0.2])
    )
    near, far = images(), images(seed=1)
    one, other = encoder.train()(near), encoder(far)
    assert (one.norm(dim=1) < 1).all()
    assert one.norm(dim=1).std() > 0.01
    apart = (near - far).flatten(1).norm(dim=1)
    assert ((one - other).norm(dim=1) <= 0.3 * apart + 1e-6).all()
    # Above 1 the length is cut.
    lengths = encoder(50 * near).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    unit = encoder.eval()(near)
    torch.testing.assert_close(unit, F.normalize(one, dim=1))


def test_wrong_size_of_image_says_what_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, "encoder.size=32", f"run_dir={tmp_path / 'r'}"]
    assert main(["train", *words]) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert "32 x 32" in said
    assert "28 x 28" in said
    assert "encoder.size" in said


@pytest.mark.parametrize("wrong", [{"size": 30}, {"width": 3}, {"gain": 0.0}])
def test_backbone_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong.values()))}"):
        lipschitz_conv(channels=1, dimension=4, **wrong)  # type: ignore[arg-type]


def objective(**options: float | str) -> Adversarial:
    return Adversarial(objective=ClusterEnergy(), **{"radius": 0.5, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [True, False])
def test_attacked_view_leaves_its_class_and_nothing_else_changes(known: bool) -> None:
    encoder, inputs, centres = small().train(), images(), torch.eye(5, 6)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    labels = torch.arange(12) % 5 if known else None
    moved = objective(steps=5).attack(encoder, centres, inputs, labels)
    assert encoder.training
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    scores = encoder.eval()(inputs) @ centres.T
    left = scores.argmax(dim=1) if labels is None else labels
    lower = gap(encoder(moved) @ centres.T, left) - gap(scores, left)
    assert (lower < -1e-3).all()
    assert ((moved - inputs).flatten(1).norm(dim=1) <= 0.5 + 1e-5).all()


def test_empty_batch_has_nothing_to_attack() -> None:
    assert len(objective().attack(small(), torch.eye(5, 6), images(0), None)) == 0


@pytest.mark.parametrize("wrong", [{"radius": 0.0}, {"steps": 0}, {"norm": "l3"}])
def test_adversarial_refuses(wrong: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong.values()))}"):
        objective(**wrong)


class Recording:
    """An objective that keeps what it is given."""

    temperature = None

    def __init__(self) -> None:
        self.inner = CentreSoftmax(sharpness=10.0)
        self.seen: list[EmbeddedBatch] = []

    def __call__(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        self.seen.append(batch)
        return self.inner(batch)


def trainer(objective: object, *, teacher: bool = False, steps: int = 40) -> Trainer:
    settings = TrainerSettings(
        steps=steps, labelled_batch=64, unlabelled_batch=8, warmup_steps=5, device="cpu",
        learning_rate=0.01, precision="32-true", ema_decay=0.9, teacher=teacher,
    )  # fmt: skip
    source = mnist_5k()
    mean, std = source.statistics
    rows = torch.arange(len(source.train))
    task = Task(
        images=source.train,
        labelled=Stream(rows, settings.labelled_batch, 0, "labelled"),
        unlabelled=Stream(rows[:100], settings.unlabelled_batch, 0, "unlabelled"),
        views=[RandomView(translate=0.05)],
        centres=torch.eye(10, 16),
        seed=0,
    )
    torch.manual_seed(0)
    encoder = Encoder(small_conv(channels=1, dimension=16, width=6), mean=mean, std=std)
    return Trainer(task, encoder, objective, settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("teacher", [False, True])
def test_trainer_gives_one_view_more_whose_gap_is_less(teacher: bool) -> None:
    """Also with a teacher, which takes the clean view and not the attacked one."""
    inner = Recording()
    wrapped = Adversarial(objective=inner, radius=2.0, steps=2)
    assert isinstance(wrapped, Attacking)
    loop = trainer(wrapped, teacher=teacher)
    for step in range(20):
        loop.step(step)
    batch = inner.seen[-1]
    assert [len(view) for view in (*batch.labelled, *batch.unlabelled)] == [64, 64, 8, 8]
    assert batch.unlabelled[0].requires_grad != teacher
    assert batch.unlabelled[1].requires_grad
    clean, attacked = (gap(z @ batch.centres.T, batch.labels).mean() for z in batch.labelled)
    assert attacked < clean - 0.01


def test_adversarial_training_helps_under_attack_and_is_configured() -> None:
    """With equal steps; the wrapper comes from the YAML, the wrapped objective by a word."""
    config = compose_settings(
        "train",
        ["objective=adversarial", "objective@objective.objective=centre_softmax",
         "objective.objective.sharpness=10.0", "objective.radius=1.0", "objective.steps=2"],
    )  # fmt: skip
    wrapped = build(config.objective)
    assert isinstance(wrapped, Adversarial)
    assert isinstance(wrapped.objective, CentreSoftmax)
    test = mnist_5k().test
    shown, truth = plain(test.images[::5]), test.labels[::5]
    found = {}
    for name, chosen in (("clean", CentreSoftmax(sharpness=10.0)), ("attacked", wrapped)):
        loop = trainer(chosen, steps=80)
        for step in range(80):
            loop.step(step)
        encoder = loop.teacher.module.eval()
        gaps = least_gap(
            lambda x, encoder=encoder: encoder(x) @ torch.eye(10, 16).T,
            shown, truth, norm=Norm.L2, radius=1.0, steps=10, seed=0, starts=1,
        )  # fmt: skip
        found[name] = float((gaps > 0).float().mean())
    assert found["attacked"] > found["clean"] + 0.1


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "tight"
    assert main(["train", *SMALL, f"run_dir={place}"]) == 0
    return place


def accuracies(rows: list[dict[str, float]]) -> list[float]:
    return [row["accuracy"] for row in rows]


def test_verb_brackets_the_truth(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["num_images=60", "l2=[0.1,0.3,1.0]", "steps=10", "num_views=2"]
    assert main(["robustness", f"run_dir={run_dir}", *words]) == 0
    found = json.loads((run_dir / "report" / "robustness.json").read_text())
    certified, attacked = (accuracies(found[key]["l2"]) for key in ("certified", "attacked"))
    assert found["certified"]["lipschitz_constant"] <= 1 + 1e-6
    assert found["clean_accuracy"] > 0.6
    assert certified[0] > 0.3
    for least, most in zip(certified, attacked, strict=True):
        assert least <= most <= found["clean_accuracy"]
    assert certified == sorted(certified, reverse=True)
    assert attacked == sorted(attacked, reverse=True)
    assert found["certified"]["broken_by_attack"] == 0
    assert found["estimated"]["broken_by_attack"] > 0
    one, two = found["views"]
    assert (one["accuracy"], one["attacked_accuracy"]) == (found["clean_accuracy"], attacked[0])
    assert one["attacked_through_one_view"] == attacked[0]
    assert two["attacked_through_one_view"] >= two["attacked_accuracy"]
    assert (run_dir / "report" / "robustness.png").stat().st_size > 10_000
    out = capsys.readouterr().out
    assert "no guarantee" in out
    assert "pixel values in [0, 1]" in " ".join(out.split())


def test_verb_smooths(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["num_images=10", "linf=[]", "l2=[0.05,0.2]", "steps=2", "samples=60", "sigma=0.1"]
    assert main(["robustness", f"run_dir={run_dir}", "certify=smoothing", *words]) == 0
    found = json.loads((run_dir / "report" / "robustness.json").read_text())["certified"]
    assert (found["sigma"], found["samples"], found["first"]) == (0.1, 60, 100)
    assert "60 samples after 100 that choose the class" in " ".join(capsys.readouterr().out.split())
    assert found["smoothed_accuracy"] >= accuracies(found["l2"])[0] > 0.2
    # All of 60 votes certify 0.1 Phi^-1(0.001^(1/60)) = 0.123 and no more.
    assert accuracies(found["l2"])[1] == 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("certify=hope", "lipschitz, smoothing"),
        ("l2=[]", "l2=[]"),
        ("linf=[-1]", "linf=[-1.0]"),
        ("steps=0", "steps=0"),
        ("split=nowhere", "split=nowhere"),
    ],
)
def test_verb_refuses(
    run_dir: Path, word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["robustness", f"run_dir={run_dir}", word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_scores_over_views_are_those_of_predict_and_have_its_gradient(run_dir: Path) -> None:
    model = Model.load(run_dir)
    shown = mnist_5k().test.images[:40]
    scores, inputs = scores_over(model, 3), plain(shown)
    near = scores(inputs).argmax(dim=1).numpy()
    assert np.array_equal(near, model.predict(shown, views=3).rows)
    point = (0.1 + 0.8 * inputs[:1]).requires_grad_()
    (slope,) = torch.autograd.grad(scores(point)[0, 0], point)
    step = torch.zeros_like(inputs[:1])
    step[..., 10:18, 10:18] = 0.001  # few of the encoder's kinks are within it
    change = (scores(point + step) - scores(point - step))[0, 0] / 2
    assert float(change.detach()) == pytest.approx(float((slope * step).sum()), rel=0.05)


def test_loaded_model_is_as_it_was_saved(run_dir: Path) -> None:
    """The scaled kernels are made of the stored weights."""
    model = Model.load(run_dir)
    assert model.encoder.margins
    results = json.loads((run_dir / "metrics.json").read_text())
    test = mnist_5k().test
    right = model.predict(test.images).rows == test.labels.numpy()
    assert right.mean() == pytest.approx(results["nearest_centre_accuracy"], abs=1e-9)


def test_attack_on_views_needs_a_view(run_dir: Path) -> None:
    model = Model.load(run_dir)
    blind = replace(model, about={**model.about, "view": None})
    inputs = plain(mnist_5k().test.images[:2])
    with pytest.raises(ValueError, match="leave views at 1"):
        attack(
            scores_over(blind, 2), inputs, torch.tensor([0, 1]), norm=Norm.L2, radius=0.1, steps=1
        )


def test_adversarial_yaml_refuses_a_wrong_norm() -> None:
    config = compose_settings("train", ["objective=adversarial", "objective.norm=l3"])
    with pytest.raises(UsageError, match="l3"):
        build(config.objective)
