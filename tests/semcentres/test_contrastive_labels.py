"""Tests of SuNCEt, SupCon and the selected NT-Xent against sums over single pairs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.nt_xent import NTXent, nt_xent
from semcentres.objectives.selected import (
    SelectedNTXent,
    class_means,
    class_probabilities,
    likely_dissimilar,
)
from semcentres.objectives.supcon import Alone, SuNCEt, SupCon, suncet, supcon


def unit(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng, dtype=torch.float64), dim=-1)


@pytest.fixture
def labelled() -> tuple[Tensor, Tensor]:
    """N=7, D=3; class 4 has one embedding only."""
    return unit(7, 3, seed=0), torch.tensor([2, 0, 2, 4, 0, 2, 1]).index_fill(0, torch.tensor(6), 0)


@pytest.fixture
def batch() -> EmbeddedBatch:
    """L=5, U=4, K=6, D=3, two views; class 3 has one image, classes 1, 4 and 5 none."""
    return EmbeddedBatch(
        labelled=(unit(5, 3, seed=0), unit(5, 3, seed=1)),
        labels=torch.tensor([2, 0, 3, 0, 2]),
        unlabelled=(unit(4, 3, seed=2), unit(4, 3, seed=3)),
        centres=unit(6, 3, seed=4),
        progress=0.0,
        labelled_rows=torch.arange(5),
        unlabelled_rows=torch.arange(5, 9),
    )


def shares(z: Tensor, y: Tensor, t: float) -> list[tuple[list[float], list[int]]]:
    """Each anchor's q to the others, and where among them its class is."""
    found = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        e = [math.exp(float(np.dot(z[i].numpy(), z[j].numpy())) / t) for j in others]
        found.append(([x / sum(e) for x in e], [n for n, j in enumerate(others) if y[j] == y[i]]))
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_suncet_equals_formula(labelled: tuple[Tensor, Tensor], smoothing: float) -> None:
    losses = [
        -math.log((1 - smoothing) * sum(q[n] for n in same) + smoothing / 5)
        for q, same in shares(*labelled, 0.3)
        if same
    ]
    value = suncet(*labelled, temperature=0.3, label_smoothing=smoothing, num_classes=5)
    assert len(losses) == 6
    assert value.item() == pytest.approx(sum(losses) / 6, abs=1e-12)


@pytest.mark.parametrize("base", [None, 0.07])
@pytest.mark.parametrize("alone", list(Alone))
def test_supcon_equals_formula(
    labelled: tuple[Tensor, Tensor], base: float | None, alone: Alone
) -> None:
    losses = [
        -sum(math.log(q[n]) for n in same) / len(same) if same else 0.0
        for q, same in shares(*labelled, 0.3)
    ]
    factor = 1 if base is None else 0.3 / base
    value = supcon(*labelled, temperature=0.3, base_temperature=base, alone=alone)
    num = 7 if alone is Alone.KEPT else 6
    assert value.item() == pytest.approx(factor * sum(losses) / num, abs=1e-12)


def test_supcon_equals_pytorch_metric_learning(labelled: tuple[Tensor, Tensor]) -> None:
    value = supcon(*labelled, temperature=0.1, alone="dropped")
    torch.testing.assert_close(value, SupConLoss(temperature=0.1)(*labelled))


def test_one_positive_each_makes_all_losses_one() -> None:
    """SupCon, SuNCEt and NT-Xent are the same for two views and no two images of a class."""
    views = [unit(5, 3, seed=0), unit(5, 3, seed=1)]
    z, y = torch.cat(views), torch.arange(5).repeat(2)
    wanted = nt_xent(views, temperature=0.2)
    torch.testing.assert_close(supcon(z, y, temperature=0.2), wanted)
    torch.testing.assert_close(suncet(z, y, temperature=0.2), wanted)


def test_two_opposite_classes_have_closed_form() -> None:
    z = torch.tensor([[1.0, 0.0]] * 2 + [[-1.0, 0.0]] * 3, dtype=torch.float64)
    y, t = torch.tensor([0, 0, 1, 1, 1]), 0.5
    small, large = math.log1p(3 * math.exp(-2 / t)), math.log1p(math.exp(-2 / t))
    wanted = (2 * small + 3 * large) / 5
    assert suncet(z, y, temperature=t).item() == pytest.approx(wanted, abs=1e-12)
    wanted += 3 / 5 * math.log(2)
    assert supcon(z, y, temperature=t).item() == pytest.approx(wanted, abs=1e-12)


def test_gradients_are_right(labelled: tuple[Tensor, Tensor]) -> None:
    z, y = labelled[0].requires_grad_(), labelled[1]
    assert torch.autograd.gradcheck(lambda z: supcon(z, y, temperature=0.4), z)
    assert torch.autograd.gradcheck(
        lambda z: suncet(z, y, temperature=0.4, label_smoothing=0.1, num_classes=5), z
    )


def test_order_and_names_of_classes_do_not_matter(labelled: tuple[Tensor, Tensor]) -> None:
    z, y = labelled
    order = torch.tensor([3, 6, 0, 4, 1, 2, 5])
    for loss in (suncet, supcon):
        torch.testing.assert_close(
            loss(z[order], 4 - y[order], temperature=0.3), loss(z, y, temperature=0.3)
        )


@pytest.mark.parametrize("num", [0, 1, 3])
@pytest.mark.parametrize("alone", list(Alone))
def test_without_a_pair_the_loss_is_nothing(num: int, alone: Alone) -> None:
    z, y = unit(num, 3, seed=0).requires_grad_(), torch.arange(num)
    value = supcon(z, y, temperature=0.1, alone=alone) + suncet(
        z, y, temperature=0.1, label_smoothing=0.1, num_classes=3
    )
    assert value == 0
    value.backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_modules_take_all_labelled_views(batch: EmbeddedBatch) -> None:
    z, y = torch.cat(batch.labelled), batch.labels.repeat(2)
    terms = SuNCEt(temperature=0.2, label_smoothing=0.1)(batch)
    wanted = suncet(z, y, temperature=0.2, label_smoothing=0.1, num_classes=6)
    torch.testing.assert_close(terms["loss"], wanted)
    terms = SupCon(temperature=0.2, base_temperature=0.07, alone="dropped")(batch)
    wanted = supcon(z, y, temperature=0.2, base_temperature=0.07, alone="dropped")
    torch.testing.assert_close(terms["loss"], wanted)


def test_supcon_pushes_off_the_nearest_of_its_class_and_suncet_does_not() -> None:
    """Two images at one point, a third of their class opposite, and one of another class."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    y, rows = torch.tensor([0, 0, 0, 1]), torch.arange(4)
    batch = EmbeddedBatch((z,), y, (), z[:2], 0.0, rows, rows[:0])
    near, far = math.exp(2), math.exp(-2)
    pushed = 2 * (near / (near + far + 1) - 1 / 2)
    others = 2 / (near + far + 1) + 1 / (2 * far + 1)
    terms = SupCon(temperature=0.5)(batch)
    assert terms["false_negatives"].item() == pytest.approx(2 / 5)
    assert terms["false_negative_weight"].item() == pytest.approx(pushed / (pushed + others))
    # The fourth image is alone in its class.
    dropped = SupCon(temperature=0.5, alone="dropped")(batch)["loss"]
    torch.testing.assert_close(dropped, terms["loss"] * 4 / 3)
    terms = SuNCEt(temperature=0.5)(batch)
    assert (terms["false_negatives"], terms["false_negative_weight"]) == (0, 0)


def test_class_means_are_directions(batch: EmbeddedBatch) -> None:
    z, y = batch.labelled[0], batch.labels.tolist()
    found = class_means(z, torch.tensor([*y[:4], -1]), num_classes=6).numpy()
    for k in range(6):
        rows = [z[i].numpy() for i in range(4) if y[i] == k]
        wanted = sum(rows) / np.linalg.norm(sum(rows)) if rows else np.zeros(3)
        np.testing.assert_allclose(found[k], wanted, atol=1e-12)


def probabilities_by_hand(z: Tensor, labels: list[int], num: int, t: float) -> list[list[float]]:
    means = class_means(z, torch.tensor(labels), num_classes=num)
    found = []
    for x, label in zip(z, labels, strict=True):
        if label >= 0:
            found.append([float(k == label) for k in range(num)])
            continue
        e = [math.exp(float(x @ means[k]) / t) * (k in labels) for k in range(num)]
        found.append([w / sum(e) for w in e])
    return found


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.9])
def test_selection_equals_formula(batch: EmbeddedBatch, threshold: float) -> None:
    views = [torch.cat(pair) for pair in zip(batch.labelled, batch.unlabelled, strict=True)]
    labels = [*batch.labels.tolist(), -1, -1, -1, -1]
    mean = (views[0] + views[1]) / 2
    p = probabilities_by_hand(mean, labels, 6, 0.3)
    torch.testing.assert_close(
        class_probabilities(mean, torch.tensor(labels), num_classes=6, temperature=0.3),
        torch.tensor(p, dtype=torch.float64),
    )
    same = [
        [sum(a * b for a, b in zip(p[i], p[j], strict=True)) for j in range(9)] for i in range(9)
    ]
    wanted = torch.tensor(same) <= (1 - threshold) / 3
    found = likely_dissimilar(
        views, torch.tensor(labels), num_classes=6, confidence_temperature=0.3, threshold=threshold
    )
    assert torch.equal(found, wanted)
    assert not wanted.all()
    assert wanted[5:, 5:].any() or threshold == 0.9
    terms = SelectedNTXent(temperature=0.4, confidence_temperature=0.3, threshold=threshold)(batch)
    torch.testing.assert_close(terms["loss"], nt_xent(views, temperature=0.4, dissimilar=wanted))
    pairs = [wanted[i, j].item() for i in range(9) for j in range(9) if i != j]
    assert terms["selected"].item() == pytest.approx(sum(pairs) / 72)
    assert terms["false_negatives"] == 0


def test_an_image_between_two_classes_is_ambiguous() -> None:
    """It is kept from neither of them, and from a class on the other side."""
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.5**0.5, 0.5**0.5]])
    found = likely_dissimilar(
        [z], torch.tensor([0, 1, 2, -1]), num_classes=3, confidence_temperature=0.1, threshold=0.5
    )
    assert found[3].tolist() == [False, False, True, False]
    assert torch.equal(found, found.T)


def test_without_labels_nothing_is_selected(batch: EmbeddedBatch) -> None:
    gone = tuple(z[:0] for z in batch.labelled)
    student = batch.unlabelled[1].clone().requires_grad_()
    bare = replace(
        batch,
        labelled=gone,
        labels=batch.labels[:0],
        labelled_rows=batch.labels[:0],
        unlabelled=(batch.unlabelled[0], student),
    )
    p = class_probabilities(student, torch.full((4,), -1), num_classes=6, temperature=0.1)
    torch.testing.assert_close(p, torch.full_like(p, 1 / 6))
    terms = SelectedNTXent()(bare)
    assert (terms["loss"], terms["selected"]) == (0, 0)
    terms["loss"].backward()
    assert student.grad is not None


@pytest.mark.parametrize("module", [NTXent, SelectedNTXent, SuNCEt, SupCon])
def test_every_module_bears_an_empty_batch(module: type[nn.Module], batch: EmbeddedBatch) -> None:
    empty = tuple(torch.zeros(0, 3, requires_grad=True) for _ in range(2))
    none = batch.labels[:0]
    terms = module()(EmbeddedBatch(empty, none, empty, batch.centres.float(), 0.0, none, none))
    assert all(value == 0 for value in terms.values())
    terms["loss"].backward()
    assert empty[0].grad is not None
    assert module.temperature is None


@pytest.mark.parametrize(
    ("module", "option", "value", "wanted"),
    [
        (SuNCEt, "temperature", 0.0, "positive, got 0.0"),
        (SuNCEt, "label_smoothing", 1.0, r"in \[0, 1\), got 1.0"),
        (SupCon, "temperature", -1.0, "positive, got -1.0"),
        (SupCon, "base_temperature", 0.0, "positive or None, got 0.0"),
        (SupCon, "alone", "lost", "one of kept, dropped, got lost"),
        (SelectedNTXent, "temperature", 0.0, "positive, got 0.0"),
        (SelectedNTXent, "confidence_temperature", 0.0, "positive, got 0.0"),
        (SelectedNTXent, "threshold", 1.5, r"in \[0, 1\], got 1.5"),
    ],
)
def test_refuses_options(module: type[nn.Module], option: str, value: object, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"{option} must be {wanted}"):
        module(**{option: value})


def test_functions_refuse_options(labelled: tuple[Tensor, Tensor]) -> None:
    z, y = labelled
    with pytest.raises(ValueError, match="needs num_classes, got None"):
        suncet(z, y, temperature=0.1, label_smoothing=0.1)
    with pytest.raises(ValueError, match="temperature must be positive, got 0.0"):
        supcon(z, y, temperature=0.0)
    with pytest.raises(ValueError, match="temperature must be positive, got 0.0"):
        class_probabilities(z, y, num_classes=5, temperature=0.0)
