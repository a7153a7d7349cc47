"""The soft-min by the nearest few centres, against all of them in float64."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semcentres.approximate import build_index
from semcentres.approximate_index import ApproximateIndex, Recall
from semcentres.index import Index
from semcentres.softmin import softmin
from semcentres.top_k_softmin import top_k_softmin

T = 0.05


def unit(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng), dim=-1)


@pytest.fixture(scope="module")
def centres() -> Tensor:
    return unit(3000, 24)


@pytest.fixture(scope="module")
def mixed(centres: Tensor) -> Tensor:
    """Half near a centre, where few terms count; half anywhere, where many do."""
    near = F.normalize(centres[:20] + 0.3 * unit(20, 24, seed=1), dim=-1)
    return torch.cat([near, unit(20, 24, seed=2)])


def truth(z: Tensor, c: Tensor) -> Tensor:
    squares = torch.cdist(z.double(), c.double(), compute_mode="donot_use_mm_for_euclid_dist") ** 2
    return -T * torch.logsumexp(-squares / T, dim=1)


def test_bound_holds_and_is_what_is_returned(centres: Tensor, mixed: Tensor) -> None:
    """With a tolerance that nothing exceeds, each value is above the truth by its bound at most."""
    index = Index.build(centres.numpy())
    found = top_k_softmin(mixed, centres, index, temperature=T, k=8, tolerance=math.inf)
    error = found.values.double() - truth(mixed, centres)
    assert found.certain
    assert not found.compared.any()
    assert (error > -1e-5).all()
    assert (error <= found.bound.double() + 1e-5).all()
    assert error.max() > 5e-3  # the sum of eight is no good for some, and the bound says so
    nearest = torch.from_numpy(index.search(mixed.numpy(), 8).cosines).double()
    gaps = (2 - 2 * nearest) - (2 - 2 * nearest[:, :1])
    for row in (0, 39):
        kept = [math.exp(-gap / T) for gap in gaps[row].tolist()]
        wanted = T * math.log(1 + (3000 - 8) * kept[-1] / sum(kept))
        assert found.bound[row].item() == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_what_exceeds_the_tolerance_is_compared_with_all(centres: Tensor, mixed: Tensor) -> None:
    index = Index.build(centres.numpy())
    found = top_k_softmin(mixed, centres, index, temperature=T, k=8, tolerance=1e-3)
    assert 0 < found.compared.sum() < 40
    assert (found.bound <= 1e-3).all()
    assert (found.bound[found.compared] == 0).all()
    error = found.values.double() - truth(mixed, centres)
    assert error.abs().max() <= 1e-3 + 1e-5
    assert error[found.compared].abs().max() < 1e-5


def test_gradient_is_that_of_all(centres: Tensor, mixed: Tensor) -> None:
    z = mixed.clone().requires_grad_()
    index = Index.build(centres.numpy())
    weights = torch.arange(1.0, 41.0)
    found = top_k_softmin(z, centres, index, temperature=T, k=16, tolerance=1e-6)
    (slope,) = torch.autograd.grad((weights * found.values).sum(), z)
    (wanted,) = torch.autograd.grad((weights * softmin(z, centres, temperature=T)).sum(), z)
    torch.testing.assert_close(slope, wanted, atol=1e-2, rtol=1e-3)


def test_an_approximate_index_does_not_call_its_bound_certain(
    centres: Tensor, mixed: Tensor
) -> None:
    index = build_index(centres.numpy(), kind="hnsw", recall=0.9)
    found = top_k_softmin(mixed, centres, index, temperature=T, k=16, tolerance=1e-3)
    assert not found.certain
    error = (found.values.double() - truth(mixed, centres)).abs()
    assert np.median(error.numpy()) < 1e-3


def test_estimate_counts_what_recall_says_is_missed(centres: Tensor, mixed: Tensor) -> None:
    """At recall 1/4 three more are taken to be as near as each found beyond the first."""
    index = build_index(centres.numpy(), kind="ivf", recall=0.9)
    assert isinstance(index, ApproximateIndex)
    index.recall = Recall(0.25, 10, 1000)
    found = top_k_softmin(mixed, centres, index, temperature=T, k=8, tolerance=math.inf)
    cosines = index.search(mixed.numpy(), 8).cosines.astype(np.float64)
    for row in (0, 39):
        kept = [math.exp(-(2 * cosines[row, 0] - 2 * cosine) / T) for cosine in cosines[row]]
        left = (3000 - 8) * kept[-1] + 3 * sum(kept[1:])
        wanted = T * math.log(1 + left / sum(kept))
        assert found.bound[row].item() == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_refuses_what_does_not_belong_together(centres: Tensor, mixed: Tensor) -> None:
    index = Index.build(centres[:10].numpy())
    with pytest.raises(ValueError, match="10 rows for 3000 centres"):
        top_k_softmin(mixed, centres, index, temperature=T)
    with pytest.raises(ValueError, match="got 0"):
        top_k_softmin(mixed, centres, index, temperature=0.0)


def test_looks_wider_before_all_are_compared(
    centres: Tensor, mixed: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One list of 64 misses most; what eight of them find is enough for some more embeddings."""
    index = build_index(centres.numpy(), kind="ivf", recall=0.01)
    assert isinstance(index, ApproximateIndex)
    index.recall = Recall(0.9, 10, 1000)
    wide = top_k_softmin(mixed, centres, index, temperature=T, k=8)
    monkeypatch.setattr("semcentres.top_k_softmin.WIDER", 1)
    narrow = top_k_softmin(mixed, centres, index, temperature=T, k=8)
    assert wide.compared.sum() < narrow.compared.sum()
    summed = narrow.compared & ~wide.compared
    error = (wide.values.double() - truth(mixed, centres))[summed]
    assert error.abs().max() < 1e-3
