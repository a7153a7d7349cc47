"""Attacks against closed forms and against foolbox, on linear scores and on a trained encoder."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcentres.encoder import Encoder
from semcentres.robustness.attacks import Norm, attack, gap, least_gap
from semcentres.robustness.certificates import first_order_margins

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from torture_figures import r17_certificates as r17

K = 5


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
    def __init__(self, encoder: Encoder, centres: Tensor, sharpness: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.centres = encoder, sharpness * centres

    def forward(self, images: Tensor) -> Tensor:
        return self.encoder(images) @ self.centres.T


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
    scores = Cosines(encoder, centres).eval()
    theirs, _, _ = OnGap(random_start=False, **options)(
        box.PyTorchModel(scores, bounds=(0, 1)), shown, truth, epsilons=radius
    )
    ours = attack(scores, shown, truth, norm=kind, radius=radius, steps=steps)
    better = gap(scores(theirs), truth) - gap(scores(ours), truth)
    assert (better > -1e-5).all()
    # The other images have met a smaller gap on their way, and ours kept it.
    last = better < 1e-5
    apart = (ours - theirs).abs().flatten(1).amax(dim=1)
    assert last.float().mean() > 0.5
    assert (apart[last] < 1e-4).float().mean() > 0.95
    assert (theirs - shown).abs().max() > 0.01


@pytest.mark.parametrize(
    ("kind", "name", "radius"), [(Norm.L2, "L2PGD", 0.5), (Norm.LINF, "LinfPGD", 0.1)]
)
def test_attack_is_as_strong_as_foolbox_with_cross_entropy(digits, kind, name, radius) -> None:  # noqa: ANN001
    box, attacks, _ = foolbox()
    encoder, shown, truth, centres = digits
    scores = Cosines(encoder, centres).eval()
    _, _, success = getattr(attacks, name)(steps=20, rel_stepsize=2.5 / 20, random_start=False)(
        box.PyTorchModel(Cosines(encoder, centres, 10.0).eval(), bounds=(0, 1)),
        shown,
        truth,
        epsilons=radius,
    )
    ours = least_gap(scores, shown, truth, norm=kind, radius=radius, steps=20, seed=0)
    assert (ours < 0).float().mean() >= success.float().mean() - 0.01
    assert 0.1 < success.float().mean() < 1


def test_first_order_estimate_is_right_of_linear_scores_alone() -> None:
    scores, inputs, weights = planes()
    found = first_order_margins(scores, inputs)
    near = scores(inputs).topk(2, dim=1).indices
    apart = weights[near[:, 0]] - weights[near[:, 1]]
    wanted = gap(scores(inputs), near[:, 0]) / apart.norm(dim=1)
    torch.testing.assert_close(found, wanted)
    assert (found >= distances(inputs, weights, 2.0) - 1e-6).all()
