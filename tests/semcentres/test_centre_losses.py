"""Tests of the losses to centres without a softmax, and of the learnt head, by plain floats."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.centre_losses import (
    CosineLoss,
    DeViSE,
    DotRegression,
    cosine_loss,
    devise,
    dot_regression,
)
from semcentres.objectives.cluster_energy import labelled_energy
from semcentres.objectives.cross_entropy import CrossEntropy

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def devise_here(z: Tensor, c: Tensor, y: Tensor) -> Tensor:
    return devise(z, c, y, margin=0.3)


def unit(rows: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, 3, generator=rng, dtype=torch.float64), dim=1)


@pytest.fixture
def batch() -> EmbeddedBatch:
    """L=5, U=2, K=4, D=3, V=2, so that no wrong axis or index agrees by symmetry."""
    return EmbeddedBatch(
        labelled=(unit(5, 0), unit(5, 1)),
        labels=torch.tensor([2, 0, 3, 0, 1]),
        unlabelled=(unit(2, 2), unit(2, 3)),
        centres=unit(4, 4),
        progress=0.0,
        labelled_rows=torch.arange(5),
        unlabelled_rows=torch.arange(5, 7),
    )


def dots(z: Tensor, centres: Tensor) -> list[float]:
    return [sum(a * b for a, b in zip(z.tolist(), c, strict=True)) for c in centres.tolist()]


def cosine_by_hand(s: list[float], y: int) -> float:
    return 1 - s[y]


def devise_by_hand(s: list[float], y: int) -> float:
    return sum(max(0.0, 0.3 - s[y] + s[j]) for j in range(len(s)) if j != y)


def regression_by_hand(s: list[float], y: int) -> float:
    return 0.5 * (s[y] - 1) ** 2


FUNCTIONS: list[tuple[Loss, Callable[[list[float], int], float], nn.Module]] = [
    (cosine_loss, cosine_by_hand, CosineLoss()),
    (devise_here, devise_by_hand, DeViSE(margin=0.3)),
    (dot_regression, regression_by_hand, DotRegression()),
]
EVERY = pytest.mark.parametrize(("loss", "by_hand", "module"), FUNCTIONS)


@EVERY
def test_equals_formula(batch: EmbeddedBatch, loss: Loss, by_hand, module: nn.Module) -> None:  # noqa: ANN001
    wanted = [
        [by_hand(dots(z, batch.centres), int(y)) for z, y in zip(view, batch.labels, strict=True)]
        for view in batch.labelled
    ]
    for view, losses in zip(batch.labelled, wanted, strict=True):
        got = loss(view, batch.centres, batch.labels)
        torch.testing.assert_close(got, torch.tensor(losses, dtype=torch.float64))
    assert module(batch)["loss"].item() == pytest.approx(sum(sum(v) for v in wanted) / 10)
    assert module.temperature is None


@EVERY
def test_gradient_reaches_the_embeddings_alone(
    batch: EmbeddedBatch,
    loss: Loss,
    by_hand,  # noqa: ANN001
    module: nn.Module,
) -> None:
    z, c = batch.labelled[0].requires_grad_(), batch.centres.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, c, batch.labels), z)
    loss(z, c, batch.labels).sum().backward()
    assert c.grad is None


@EVERY
def test_rotation_of_all_and_order_of_centres_change_nothing(
    batch: EmbeddedBatch,
    loss: Loss,
    by_hand,  # noqa: ANN001
    module: nn.Module,
) -> None:
    z, c, y = batch.labelled[0], batch.centres, batch.labels
    turn, _ = torch.linalg.qr(unit(3, 5))
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(loss(z @ turn, (c @ turn)[order], order.argsort()[y]), loss(z, c, y))
    images = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(loss(z[images], c, y[images]), loss(z, c, y)[images])


@pytest.mark.parametrize(
    "module", [*(row[2] for row in FUNCTIONS), CrossEntropy(num_classes=4, dimension=3).double()]
)
def test_empty_batch_costs_nothing_and_stays_in_the_graph(
    batch: EmbeddedBatch, module: nn.Module
) -> None:
    z = batch.labelled[0][:0].requires_grad_()
    none = batch.labels[:0]
    loss = module(replace(batch, labelled=(z, z), labels=none, labelled_rows=none))["loss"]
    assert loss == 0
    loss.backward()
    assert z.grad is not None


def test_closed_forms_at_a_simplex() -> None:
    # At their own centres, and at the opposite of it, with cosines of -1/2 between the centres.
    c = torch.tensor([[0.0, 1.0], [math.sqrt(0.75), -0.5], [-math.sqrt(0.75), -0.5]])
    y = torch.arange(3)
    for z, cosine, hinge, squared in [(c, 0.0, 0.0, 0.0), (-c, 2.0, 2 * 1.6, 2.0)]:
        torch.testing.assert_close(cosine_loss(z, c, y), torch.full((3,), cosine))
        torch.testing.assert_close(devise(z, c, y, margin=0.1), torch.full((3,), hinge))
        torch.testing.assert_close(dot_regression(z, c, y), torch.full((3,), squared))
    # As near to one wrong centre as to the own: each such centre costs the margin, exactly.
    same = c[:1].repeat(3, 1)
    assert devise(same[:1], same, y[:1], margin=0.1).item() == pytest.approx(0.2)


def test_devise_beyond_the_margin_is_exactly_0() -> None:
    c = torch.eye(7)
    assert (devise(c, c, torch.arange(7), margin=0.1) == 0).all()


def test_laws_between_the_losses(batch: EmbeddedBatch) -> None:
    z, c, y = batch.labelled[0].requires_grad_(), batch.centres, batch.labels
    cosine = cosine_loss(z, c, y)
    torch.testing.assert_close(labelled_energy([z], y, c), 2 * cosine.mean())
    (of_cosine,) = torch.autograd.grad(cosine.sum(), z)
    (of_regression,) = torch.autograd.grad(dot_regression(z, c, y).sum(), z)
    torch.testing.assert_close(of_regression, cosine[:, None].detach() * of_cosine)


def test_cross_entropy_equals_formula_and_learns_its_head(batch: EmbeddedBatch) -> None:
    objective = CrossEntropy(num_classes=4, dimension=3).double()
    weights, bias = objective.head.weight, objective.head.bias.tolist()
    wanted = []
    for view in batch.labelled:
        for z, y in zip(view, batch.labels.tolist(), strict=True):
            logits = [s + b for s, b in zip(dots(z, weights), bias, strict=True)]
            wanted.append(math.log(sum(math.exp(x) for x in logits)) - logits[y])
    loss = objective(batch)["loss"]
    assert loss.item() == pytest.approx(sum(wanted) / 10)
    assert objective.temperature is None
    loss.backward()
    for parameter in objective.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_cross_entropy_separates_what_is_separable(batch: EmbeddedBatch) -> None:
    torch.manual_seed(0)
    objective = CrossEntropy(num_classes=4, dimension=3).double()
    corners = F.normalize(torch.cat([torch.eye(3), -torch.ones(1, 3)]).double(), dim=1)
    four = torch.arange(4)
    easy = replace(batch, labelled=(corners,), labels=four, labelled_rows=four)
    optimiser = torch.optim.SGD(objective.parameters(), lr=5.0)
    for _ in range(200):
        optimiser.zero_grad()
        objective(easy)["loss"].backward()
        optimiser.step()
    assert objective(easy)["loss"] < 0.05
    assert objective.head(easy.labelled[0]).argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_refuses(batch: EmbeddedBatch) -> None:
    with pytest.raises(ValueError, match="margin must be at least 0, got -0.1"):
        devise(batch.labelled[0], batch.centres, batch.labels, margin=-0.1)
    with pytest.raises(ValueError, match="margin must be at least 0, got -0.5"):
        DeViSE(margin=-0.5)
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        CrossEntropy(num_classes=1, dimension=3)
    for dimension in (0, None):
        with pytest.raises(ValueError, match=f"dimension must be at least 1, got {dimension}"):
            CrossEntropy(num_classes=4, dimension=dimension)
    for shape in [(7, 3), (4, 5)]:
        objective = CrossEntropy(num_classes=shape[0], dimension=shape[1])
        with pytest.raises(ValueError, match=rf"{shape[0]}, {shape[1]}\), .* \(4, 3\)"):
            objective(batch)
