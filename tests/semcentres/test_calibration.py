"""Confidences, thresholds and verdicts against arithmetic that shares no code with them."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.evaluation.calibration import (
    fit_temperature,
    fit_threshold,
    negative_log_likelihood,
    reliability,
)

RNG = np.random.default_rng(0)


def by_hand(confidences: list[float], right: list[bool], bins: int) -> float:
    """The definition, bin by bin, image by image."""
    total = 0.0
    for m in range(bins):
        inside = [
            (c, r)
            for c, r in zip(confidences, right, strict=True)
            if m / bins < c <= (m + 1) / bins or (m == 0 and c == 0)
        ]
        if inside:
            accuracy = sum(r for _, r in inside) / len(inside)
            confidence = sum(c for c, _ in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_error_is_its_definition(bins: int) -> None:
    confidences = RNG.uniform(0, 1, 83)
    confidences[:3] = 0, 1, 0.25  # edges
    right = RNG.uniform(0, 1, 83) < confidences**2
    found = reliability(confidences, right, bins=bins)
    assert found.error == pytest.approx(by_hand(confidences.tolist(), right.tolist(), bins))
    assert found.counts.sum() == 83


def test_calibration_error_in_closed_form() -> None:
    """Always 0.9 sure and right half of the time."""
    found = reliability(np.full(10, 0.9), np.arange(10) % 2 == 0)
    assert found.error == pytest.approx(0.4)
    assert found.counts.tolist() == [0] * 13 + [10, 0]


def sample(t: float, num: int) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings whose labels are drawn from softmax(-d^2 / t): its own best temperature is t."""
    rng = torch.Generator().manual_seed(1)
    centres = F.normalize(torch.randn(4, 3, generator=rng), dim=1)
    embeddings = F.normalize(torch.randn(num, 3, generator=rng), dim=1)
    distances = torch.cdist(embeddings, centres) ** 2
    labels = torch.multinomial((-distances / t).softmax(dim=1), 1, generator=rng).squeeze(1)
    return embeddings, centres, labels


@pytest.mark.parametrize("t", [0.2, 0.7, 3.0])
def test_finds_the_temperature_that_labels_were_drawn_at(t: float) -> None:
    assert fit_temperature(*sample(t, 20_000)) == pytest.approx(t, rel=0.07)


def test_temperature_has_the_least_likelihood_of_a_fine_grid() -> None:
    z, c, y = (x.double() if x.is_floating_point() else x for x in sample(0.5, 300))
    best = fit_temperature(z, c, y)
    losses = {
        t: F.cross_entropy(-(torch.cdist(z, c) ** 2) / t, y).item()
        for t in np.geomspace(0.01, 10, 2000)
    }
    assert best == pytest.approx(min(losses, key=lambda t: losses[t]), rel=5e-3)
    for t in (best, 0.05, 2.0):
        wanted = F.cross_entropy(-(torch.cdist(z, c) ** 2) / t, y).item()
        assert negative_log_likelihood(z, c, y, temperature=t) == pytest.approx(wanted)


def test_temperature_goes_to_its_bounds_where_all_or_nothing_is_right() -> None:
    centres = torch.eye(3)
    labels = torch.tensor([0, 1, 2, 1])
    assert fit_temperature(centres[labels], centres, labels) == pytest.approx(0.01)
    wrong = centres[(labels + 1) % 3]
    assert fit_temperature(wrong, centres, labels) == pytest.approx(10)


@pytest.mark.parametrize("rejected", [0.0, 0.05, 0.1, 0.5])
def test_threshold_rejects_the_share_that_was_asked(rejected: float) -> None:
    energies = RNG.standard_normal(200)
    threshold = fit_threshold(energies, rejected=rejected)
    assert (energies > threshold).sum() == math.floor(rejected * 200)
    # The least that does: with the next lower energy one image more is rejected.
    lower = np.sort(energies)[np.searchsorted(np.sort(energies), threshold) - 1]
    assert (energies > lower).sum() > rejected * 200


def test_refuses() -> None:
    with pytest.raises(InputError, match="no images"):
        reliability(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(InputError, match="no images"):
        fit_temperature(torch.zeros(0, 3), torch.eye(3), torch.zeros(0, dtype=torch.int64))
    for energies, share in ((np.zeros(0), 0.1), (np.zeros(2), 1.0), (np.zeros(2), -0.1)):
        with pytest.raises(InputError, match="wanted"):
            fit_threshold(energies, rejected=share)
