"""Averages over views against their definitions, and the early stop against brute force."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from centre_builders.errors import UsageError
from semcentres.multi_view import Average, Encode, certain, score_views

N, V, K, D, T = 40, 7, 5, 3, 0.4


def unit(*shape: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=rng), dim=-1)


CENTRES = unit(K, D, seed=9)


def seen(noise: float) -> Tensor:
    """Embeddings [V N D]: each image's views scatter about a direction of its own."""
    rng = torch.Generator().manual_seed(3)
    return F.normalize(unit(N, D) + noise * torch.randn(V, N, D, generator=rng), dim=-1)


def counting(views: Tensor) -> tuple[Encode, list[int]]:
    asked: list[int] = []

    def encode(view: int, rows: Tensor) -> Tensor:
        asked.extend(rows.tolist())
        return views[view][rows]

    return encode, asked


def by_hand(views: Tensor, average: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and energies of all views, straight from the definitions, by distances."""
    wide, centres = views.double(), CENTRES.double()
    if average == "embedding":
        distances = torch.cdist(F.normalize(wide.mean(dim=0), dim=-1), centres) ** 2
    else:
        distances = torch.cdist(wide, centres) ** 2
    if average == "distance":
        distances = distances.mean(dim=0)
    likely, energies = (-distances / T).softmax(-1), -T * (-distances / T).logsumexp(-1)
    if average == "probability":
        likely, energies = likely.mean(dim=0), energies.mean(dim=0)
    return likely.numpy(), energies.numpy()


@pytest.mark.parametrize("average", list(Average))
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_averages_are_their_definitions(average: str, noise: float) -> None:
    """Of the views that an image had: all, or those until it was certain."""
    views = seen(noise)
    encode, _ = counting(views)
    found = score_views(encode, N, CENTRES, temperature=T, views=V, average=average)
    for row in range(N):
        likely, energies = by_hand(views[: found.passes[row], row : row + 1], average)
        order = np.argsort(-likely[0])[:2]
        assert found.rows[row].tolist() == order.tolist()
        np.testing.assert_allclose(found.confidences[row], likely[0, order], rtol=1e-4)
        np.testing.assert_allclose(found.energies[row], energies[0], atol=1e-5)


@pytest.mark.parametrize("average", list(Average))
@pytest.mark.parametrize("noise", [0.1, 0.6, 2.0])
def test_early_stop_changes_no_class(average: str, noise: float) -> None:
    views = seen(noise)
    encode, asked = counting(views)
    found = score_views(encode, N, CENTRES, temperature=T, views=V, average=average)
    likely, _ = by_hand(views, average)
    assert found.rows[:, 0].tolist() == likely.argmax(axis=1).tolist()
    assert np.bincount(asked, minlength=N).tolist() == found.passes.tolist()
    if noise == 0.1:
        assert found.passes.mean() < V


@pytest.mark.parametrize("average", list(Average))
def test_blocks_of_images_change_nothing(average: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, asked = counting(seen(0.6))
    whole = score_views(encode, N, CENTRES, temperature=T, views=V, average=average)
    monkeypatch.setattr("semcentres.multi_view.MAX_HELD", 3 * K)
    encode, again = counting(seen(0.6))
    found = score_views(encode, N, CENTRES, temperature=T, views=V, average=average)
    assert again == asked
    for name in ("rows", "confidences", "energies", "passes"):
        assert getattr(found, name).tolist() == getattr(whole, name).tolist()


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("mixed", [False, True])
def test_certain_is_neither_early_nor_late(seed: int, mixed: bool) -> None:
    """Brute force: let the views to come do their worst, for each rival of the leader."""
    size, left = 4, 1 + seed % 3
    had = unit(size, D, seed=seed)
    total = (had @ CENTRES.T / T).softmax(1).sum(0) if mixed else had.sum(0)
    scores = total if mixed else CENTRES @ total
    leader = int(scores.argmax())
    overtaken = False
    for rival in set(range(K)) - {leader}:
        if mixed:
            worst = F.one_hot(torch.tensor(rival), K).float()
            after = total + left * worst
        else:
            worst = F.normalize(CENTRES[rival] - CENTRES[leader], dim=0)
            after = CENTRES @ (total + left * worst)
        overtaken |= bool(after[rival] >= after[leader])
    found = certain(total[None], None if mixed else CENTRES, left)
    assert found.item() == (not overtaken)


def test_certain_has_both_answers() -> None:
    """The brute force above would also pass on one answer alone."""
    total = torch.stack([40 * CENTRES[0], unit(1, D, seed=5)[0]])
    assert certain(total, CENTRES, 1).tolist() == [True, False]


def test_mean_distance_is_the_mean_embedding_at_a_higher_temperature() -> None:
    """d^2 = 2 - 2 |m| (z.c): the same class, less sure, as if t were t / |m|."""
    views = seen(1.0)[:2]
    encode, _ = counting(views)
    found = score_views(encode, N, CENTRES, temperature=T, views=2, average="distance")
    lengths = views.mean(dim=0).norm(dim=1)
    for row in np.flatnonzero(found.passes == 2):
        one = F.normalize(views[:, row].mean(dim=0), dim=0)[None]
        alone = score_views(
            lambda _, rows, one=one: one[rows], 1, CENTRES, temperature=T / float(lengths[row])
        )
        assert alone.rows[0].tolist() == found.rows[row].tolist()
        np.testing.assert_allclose(alone.confidences[0], found.confidences[row], rtol=1e-4)


def test_mean_of_log_probabilities_is_the_mean_distance() -> None:
    views = seen(1.0).double()
    log_p = (-(torch.cdist(views, CENTRES.double()) ** 2) / T).log_softmax(-1)
    likely, _ = by_hand(views, "distance")
    np.testing.assert_allclose(log_p.mean(dim=0).softmax(-1).numpy(), likely, rtol=1e-9)


def test_one_class_is_its_own_runner_up() -> None:
    for average in Average:
        found = score_views(
            lambda _, rows: unit(3, D)[rows], 3, CENTRES[:1], temperature=T, average=average
        )
        assert found.rows.tolist() == [[0, 0]] * 3
        np.testing.assert_allclose(found.confidences, [[1, 0]] * 3, atol=1e-6)


@pytest.mark.parametrize(("views", "average"), [(0, "embedding"), (2, "median")])
def test_refuses(views: int, average: str) -> None:
    with pytest.raises(UsageError, match="median" if average == "median" else "views=0"):
        score_views(counting(seen(0.1))[0], N, CENTRES, temperature=T, views=views, average=average)
