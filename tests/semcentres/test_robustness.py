"""Attacks, certificates and smoothing against closed forms, foolbox, Jacobians and each other."""

import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import beta, norm
from torch import Tensor, nn

from centre_builders.errors import UsageError
from semcentres.encoder import Encoder, linear, small_conv
from semcentres.lipschitz import AlmostOrthogonalConv, MaxMin, lipschitz_conv
from semcentres.robustness.attacks import Norm, attack, gap, least_gap
from semcentres.robustness.certificates import (
    ROUNDING,
    convolution_norm,
    first_order_margins,
    lipschitz_constant,
    lipschitz_radii,
)
from semcentres.robustness.smoothing import ABSTAIN, Smoothing

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from torture_figures import r17_certificates as r17

K, D = 5, 7


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planes(seed: int = 0) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """Linear scores of 4 x 1 x 3 x 2 inputs, their classes, and the weights [K 6]."""
    weights, inputs = draw(K, 6, seed=seed), draw(4, 1, 3, 2, seed=seed + 1)

    def scores(x: Tensor) -> Tensor:
        return x.flatten(1) @ weights.T

    return scores, inputs, weights


def distances(inputs: Tensor, weights: Tensor, order: float) -> Tensor:
    """Distance to the nearest other class of linear scores, in the norm whose dual has `order`."""
    found = inputs.flatten(1) @ weights.T
    near = found.argmax(dim=1)
    rows = []
    for row, own in enumerate(near.tolist()):
        others = [k for k in range(K) if k != own]
        rows.append(
            min(
                float((found[row, own] - found[row, k]) / (weights[own] - weights[k]).norm(p=order))
                for k in others
            )
        )
    return torch.tensor(rows)


def test_gap_by_hand() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.5], [3.0, 1.0, 2.5]])
    assert gap(scores, torch.tensor([0, 1])).tolist() == [0.5, -2.0]


@pytest.mark.parametrize(("kind", "dual"), [(Norm.L2, 2.0), (Norm.LINF, 1.0)])
def test_attack_finds_the_plane_and_no_earlier(kind: Norm, dual: float) -> None:
    """Of linear scores the distance is known: inside it nothing is found, beyond it all are."""
    scores, inputs, weights = planes()
    labels, far = scores(inputs).argmax(dim=1), distances(inputs, weights, dual)

    def found(share: float) -> Tensor:
        return least_gap(
            scores, inputs, labels, norm=kind, radius=share * far, steps=50, seed=0, starts=6,
            bounds=None,
        )  # fmt: skip

    assert (found(0.99) > 0).all()
    assert (found(1.02) < 0).all()


@pytest.mark.parametrize("kind", list(Norm))
@pytest.mark.parametrize("start", [False, True])
def test_attack_stays_within_radius_and_bounds(kind: Norm, start: bool) -> None:
    scores, _, _ = planes()
    inputs = torch.rand(4, 1, 3, 2, generator=torch.Generator().manual_seed(5))
    radius = torch.tensor([0.0, 0.05, 0.2, 0.9])
    draws = torch.Generator().manual_seed(1) if start else None
    labels = scores(inputs).argmax(dim=1)
    moved = attack(scores, inputs, labels, norm=kind, radius=radius, steps=7, draws=draws)
    change = (moved - inputs).flatten(1)
    size = change.norm(dim=1) if kind is Norm.L2 else change.abs().amax(dim=1)
    assert (size <= radius + 1e-6).all()
    assert size[0] == 0
    assert (size[1:] > 0.5 * radius[1:]).all()
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_random_starts_fill_the_ball() -> None:
    """Flat scores keep the first point, which is the start; its mean length is n/(n+1)."""
    inputs = torch.zeros(4000, 3)

    def flat(x: Tensor) -> Tensor:
        return torch.stack([0 * x.sum(dim=1), 0 * x.sum(dim=1)], dim=1)

    labels = torch.zeros(4000, dtype=torch.int64)
    moved = attack(
        flat, inputs, labels, norm=Norm.L2, radius=2.0, steps=1, bounds=None,
        draws=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert moved.norm(dim=1).mean() == pytest.approx(2 * 3 / 4, rel=0.02)
    assert moved.mean(dim=0).abs().max() < 0.05


@pytest.fixture(scope="module")
def digits() -> tuple[Encoder, Tensor, Tensor, Tensor]:
    """An ordinary encoder trained on digits, 100 held-out images with labels, and centres."""
    (images, labels), (shown, truth) = r17.digits(seed=3, trials=100)
    centres = F.normalize(draw(10, r17.DIMENSION, seed=4), dim=1)
    encoder = r17.trained(r17.ordinary(3), images, labels, centres, seed=3, steps=120)
    return encoder, shown, truth, centres


class Cosines(nn.Module):
    def __init__(self, encoder: Encoder, centres: Tensor) -> None:
        super().__init__()
        self.encoder, self.centres = encoder, centres

    def forward(self, images: Tensor) -> Tensor:
        return 10 * self.encoder(images) @ self.centres.T


def foolbox() -> tuple[object, object, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its imports of scipy are of an older one
        import eagerpy
        import foolbox
        import foolbox.attacks
    return foolbox, foolbox.attacks, eagerpy


@pytest.mark.parametrize(
    ("kind", "name", "radius", "steps"),
    [(Norm.L2, "L2PGD", 0.3, 8), (Norm.LINF, "LinfPGD", 0.04, 8), (Norm.LINF, "FGSM", 0.04, 1)],
)
def test_attack_takes_the_steps_of_foolbox(digits, kind, name, radius, steps) -> None:  # noqa: ANN001
    """With our loss in foolbox's attack, both end at the same pixels."""
    box, attacks, eager = foolbox()
    encoder, shown, truth, centres = digits

    class OnGap(getattr(attacks, name)):  # type: ignore[misc]
        def get_loss_fn(self, model, labels):  # noqa: ANN001, ANN202
            return lambda x: -eager.astensor(gap(model(x).raw, labels.raw).sum())

    options = {} if steps == 1 else {"steps": steps, "rel_stepsize": 2.5 / steps}
    scores = Cosines(encoder, centres)
    theirs, _, _ = OnGap(random_start=False, **options)(
        box.PyTorchModel(scores, bounds=(0, 1)), shown, truth, epsilons=radius
    )
    ours = attack(scores, shown, truth, norm=kind, radius=radius, steps=steps)
    assert (gap(scores(ours), truth) <= gap(scores(theirs), truth) + 1e-5).all()
    # The rest have met a larger gap on their way, and ours kept the least.
    same = ((ours - theirs).abs().flatten(1).amax(dim=1) < 1e-4).float().mean()
    assert same >= 0.8
    assert (theirs - shown).abs().max() > 0.01


@pytest.mark.parametrize(
    ("kind", "name", "radius"), [(Norm.L2, "L2PGD", 0.5), (Norm.LINF, "LinfPGD", 0.1)]
)
def test_attack_is_as_strong_as_foolbox_with_cross_entropy(digits, kind, name, radius) -> None:  # noqa: ANN001
    box, attacks, _ = foolbox()
    encoder, shown, truth, centres = digits
    scores = Cosines(encoder, centres)
    _, _, success = getattr(attacks, name)(steps=20, rel_stepsize=2.5 / 20, random_start=False)(
        box.PyTorchModel(scores, bounds=(0, 1)), shown, truth, epsilons=radius
    )
    ours = least_gap(scores, shown, truth, norm=kind, radius=radius, steps=20, seed=0)
    assert (ours < 0).float().mean() >= success.float().mean() - 0.01
    assert 0.1 < success.float().mean() < 1


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolution_norm_bounds_the_matrix(size: int, stride: int) -> None:
    conv = nn.Conv2d(3, 4, size, stride, padding=size // 2, bias=False).double()
    bound = convolution_norm(conv.weight, (6, 8), conv.padding)
    matrix = conv(torch.eye(3 * 6 * 8, dtype=torch.float64).view(-1, 3, 6, 8)).flatten(1)
    true = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert true <= bound + 1e-9
    if stride == 1:
        assert bound < 1.25 * true


@pytest.mark.parametrize(("inputs", "outputs"), [(6, 4), (4, 6), (5, 5)])
@pytest.mark.parametrize("size", [1, 3])
def test_almost_orthogonal_lengthens_nothing(inputs: int, outputs: int, size: int) -> None:
    """As a matrix, whatever its weights; and as it starts, it lengthens and shortens nothing."""
    conv = AlmostOrthogonalConv(inputs, outputs, size).double()
    unit = torch.eye(inputs * 25, dtype=torch.float64).view(-1, inputs, 5, 5)
    start = torch.linalg.svdvals(conv(unit).flatten(1))[: min(inputs, outputs) * 25]
    torch.testing.assert_close(start, torch.ones_like(start), atol=1e-6, rtol=0)
    conv.weight.data = draw(outputs, inputs, size, size, seed=2).double()
    assert 0.3 < torch.linalg.matrix_norm(conv(unit).flatten(1), ord=2) <= 1 + 1e-9


def test_max_min_sorts_pairs() -> None:
    maps = draw(2, 6, 3, 3)
    found = MaxMin()(maps)
    assert (found[:, :3] >= found[:, 3:]).all()
    torch.testing.assert_close(found.square().sum(), maps.square().sum())


def spread(encoder: Encoder) -> Encoder:
    """Weights and running statistics as after some training, in evaluation mode and float64."""
    for number, module in enumerate(encoder.modules()):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_var = 0.2 + draw(module.num_features, seed=number).abs()
            module.weight.data = draw(module.num_features, seed=number + 1)
        if isinstance(module, AlmostOrthogonalConv):
            module.weight.data = module.weight.data + 0.05 * draw(*module.weight.shape)
    return encoder.double().eval()


ENCODERS = {
    "ordinary": lambda: Encoder(
        small_conv(channels=1, dimension=D, width=4, hidden=6), mean=[0.3], std=[0.25]
    ),
    "grey to three channels": lambda: Encoder(
        small_conv(channels=3, dimension=D, width=4), mean=[0.3] * 3, std=[0.25, 0.5, 0.4]
    ),
    "lipschitz": lambda: lipschitz_conv(channels=1, dimension=D, width=4, size=8, gain=0.7).encoder(
        ([0.3], [0.25])
    ),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_constant_bounds_every_jacobian(kind: str) -> None:
    encoder = spread(ENCODERS[kind]())
    inputs = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    bound = lipschitz_constant(encoder, inputs)
    slopes = [
        torch.autograd.functional.jacobian(encoder.raw, x[None]).reshape(D, -1) for x in inputs
    ]
    steepest = max(float(torch.linalg.matrix_norm(slope, ord=2)) for slope in slopes)
    assert 0.01 * bound < steepest <= bound
    if kind == "lipschitz":
        assert bound <= 0.7 + 1e-9


def test_unknown_layers_and_resizing_certify_nothing() -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(4, D), nn.GELU())
    inputs, centres = torch.rand(3, 1, 2, 2), torch.eye(K, D)
    for encoder in (
        Encoder(backbone, mean=[0.0], std=[1.0]),
        Encoder(nn.Sequential(nn.Flatten(), nn.Linear(4, D)), mean=[0.0], std=[1.0], size=2),
    ):
        bound, radii = lipschitz_radii(encoder, inputs, centres)
        assert bound == math.inf
        assert radii.tolist() == [0, 0, 0]


def test_radius_of_a_rotation_is_the_distance_to_the_plane() -> None:
    """Nothing is lost where f is an isometry: the certificate is the distance itself."""
    encoder = Encoder(linear(channels=D, dimension=D), mean=[0.0] * D, std=[0.5] * D)
    encoder.backbone.weight.data = torch.linalg.qr(draw(D, D))[0]
    inputs, centres = draw(9, D, seed=1), F.normalize(draw(K, D, seed=2), dim=1)
    bound, radii = lipschitz_radii(encoder, inputs, centres)
    assert bound == pytest.approx(2, rel=1e-6)
    wanted = distances(inputs, centres @ encoder.backbone.weight.data, 2.0)
    slack = ROUNDING * inputs.norm(dim=1) / 0.2
    assert (radii <= wanted + 1e-6).all()
    assert (radii >= wanted - slack - 1e-6).all()


def test_first_order_estimate_is_right_of_linear_scores_alone() -> None:
    scores, inputs, weights = planes()
    found = first_order_margins(scores, inputs)
    near = scores(inputs).topk(2, dim=1).indices
    apart = weights[near[:, 0]] - weights[near[:, 1]]
    wanted = gap(scores(inputs), near[:, 0]) / apart.norm(dim=1)
    torch.testing.assert_close(found, wanted)
    assert (found >= distances(inputs, weights, 2.0) - 1e-6).all()


@pytest.fixture(scope="module")
def figure() -> dict[str, object]:
    return r17.run(trials=40, seed=0)


def test_no_certified_radius_is_broken(figure) -> None:  # noqa: ANN001
    """R17, in small; and the same attack breaks the note's bound."""
    assert figure["passed"], figure
    for found in figure["measured"].values():
        assert found["broken"] == 0
    assert figure["naive"]["ordinary encoder, first-order estimate"]["broken"] > 0
    assert figure["measured"]["ordinary encoder"]["median_radius"] < 0.01
    assert figure["measured"]["lipschitz encoder"]["accuracy"] > 0.9


def test_radius_by_votes() -> None:
    """Against the beta distribution's quantile, and the closed form of all votes."""
    noise = Smoothing(sigma=0.5, samples=200, alpha=0.01)
    for votes in (101, 130, 199):
        lowest = beta.ppf(0.01, votes, 200 - votes + 1)
        assert noise.radius(votes) == pytest.approx(0.5 * norm.ppf(lowest), rel=1e-6)
    assert noise.radius(200) == pytest.approx(0.5 * norm.ppf(0.01 ** (1 / 200)), rel=1e-6)
    assert noise.radius(100) < 0


def test_smoothing_of_a_plane_is_nearly_the_distance() -> None:
    """P(class) is Phi(distance / sigma): the radius is the distance less what sampling costs."""
    images = torch.tensor([0.4, 0.15, 0.0, -0.3]).view(4, 1, 1, 1)
    noise = Smoothing(sigma=0.25, samples=20_000)
    rows, radii = noise.certify(
        lambda x: (x.flatten(1)[:, 0] < 0).long(), images, torch.Generator().manual_seed(0)
    )
    assert rows.tolist() == [0, 0, ABSTAIN, 1]
    wanted = np.array([0.4, 0.15, 0.0, 0.3])
    assert (radii <= wanted).all()
    assert (radii >= wanted - 0.03).all()


@pytest.mark.parametrize("wrong", [{"sigma": 0.0}, {"alpha": 1.0}, {"samples": 0}])
def test_smoothing_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong))}"):
        Smoothing(**wrong)  # type: ignore[arg-type]
