"""Certificates and smoothing against Jacobians, closed forms, and attacks (R17)."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import beta, norm
from torch import Tensor, nn

from centre_builders.errors import UsageError
from semcentres.encoder import Encoder, MeanOverPixels, linear, small_conv
from semcentres.lipschitz import AlmostOrthogonalConv, Gain, MaxMin, lipschitz_conv
from semcentres.robustness.certificates import (
    ROUNDING,
    convolution_norm,
    lipschitz_constant,
    lipschitz_radii,
)
from semcentres.robustness.smoothing import ABSTAIN, Smoothing

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from torture_figures import r17_certificates as r17

K, D = 5, 7


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_convolution_norm_bounds_the_matrix(size: int, stride: int) -> None:
    conv = nn.Conv2d(3, 4, size, stride, padding=size // 2, bias=False).double()
    bound = convolution_norm(conv.weight, (6, 8), conv.padding)
    matrix = conv(torch.eye(3 * 6 * 8, dtype=torch.float64).view(-1, 3, 6, 8)).flatten(1).detach()
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
    start = torch.linalg.svdvals(conv(unit).flatten(1).detach())[: min(inputs, outputs) * 25]
    torch.testing.assert_close(start, torch.ones_like(start), atol=1e-6, rtol=0)
    conv.weight.data = draw(outputs, inputs, size, size, seed=2).double()
    assert 0.3 < torch.linalg.matrix_norm(conv(unit).flatten(1).detach(), ord=2) <= 1 + 1e-9


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
            if module.affine:
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
    assert steepest <= bound
    if kind == "lipschitz":
        assert 0.01 * bound < steepest
        assert bound <= 0.7 + 1e-9


LAYERS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 5)),
    "norm of maps": lambda: nn.Sequential(nn.BatchNorm2d(2), nn.Flatten()),
    "norm of vectors": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(32, affine=False)),
    "mean": MeanOverPixels,
    "unshuffled": lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Flatten()),
    "gain": lambda: nn.Sequential(nn.Flatten(), Gain(-3.0)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_constant_of_a_linear_layer_is_its_norm(kind: str) -> None:
    """Not more than it: with the normalisation of the input before it."""
    encoder = spread(Encoder(LAYERS[kind](), mean=[0.1, 0.2], std=[0.25, 0.25]))
    inputs = torch.rand(1, 2, 4, 4, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(encoder.raw, inputs).reshape(-1, 32)
    true = float(torch.linalg.matrix_norm(slope, ord=2))
    assert lipschitz_constant(encoder, inputs) == pytest.approx(true, rel=1e-6)


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
    scores = inputs @ (centres @ encoder.backbone.weight.data).T
    near = scores.argmax(dim=1)
    others = torch.cdist(centres, centres)[near].scatter(1, near[:, None], 1e-9)
    wanted = (scores.gather(1, near[:, None]) - scores) / others
    wanted = wanted.scatter(1, near[:, None], math.inf).amin(dim=1)
    slack = ROUNDING * inputs.norm(dim=1) / 0.2
    assert (radii <= wanted + 1e-6).all()
    assert (radii >= wanted - slack - 1e-6).all()


@pytest.fixture(scope="module")
def figure() -> dict[str, object]:
    return r17.run(trials=20, seed=0)


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
