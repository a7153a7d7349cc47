"""Tests of PCL: phi and ProtoNCE against loops, k-means against sklearn, and a resumed run."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor

from semcentres.components import build
from semcentres.compose import compose_settings
from semcentres.kmeans import kmeans
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.memory import Memory
from semcentres.objectives.nt_xent import nt_xent
from semcentres.objectives.pcl import ProtoNCE, cluster
from semcentres.objectives.prototypes_nce import concentrations, proto_nce
from semcentres.randomness import generator

# Clusters of 5, 1, 0, 3, 2, 9, 1, 4, 2, 6 and 3 images; no two as wide.
SIZES = [5, 1, 0, 3, 2, 9, 1, 4, 2, 6, 3]


def distances_in_clusters() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    assigned = torch.repeat_interleave(torch.arange(11), torch.tensor(SIZES))
    widths = torch.tensor([0.1, 2.0, 1.0, 0.4, 3.0, 0.9, 0.2, 0.05, 0.7, 1.6, 0.3]).double()
    distances = widths[assigned] * torch.rand(36, generator=rng, dtype=torch.float64)
    order = torch.randperm(36, generator=rng)
    return distances[order], assigned[order]


def percentile(values: list[float], share: float) -> float:
    """Of sorted values, between two in proportion."""
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return sorted(values)[low] + (place - low) * (sorted(values)[high] - sorted(values)[low])


def phi_by_hand(d: list[float], assigned: list[int], num: int, t: float, alpha: float) -> Tensor:
    members = [[x for x, c in zip(d, assigned, strict=True) if c == j] for j in range(num)]
    phi = [sum(m) / (len(m) * math.log(len(m) + alpha)) if len(m) > 1 else -1.0 for m in members]
    phi = [x if x >= 0 else max(phi) for x in phi]
    low, high = percentile(phi, 0.1), percentile(phi, 0.9)
    phi = [min(max(x, low), high) for x in phi]
    mean = sum(phi) / num
    return torch.tensor([t * x / mean for x in phi], dtype=torch.float64)


@pytest.mark.parametrize(("t", "alpha"), [(0.2, 10.0), (0.07, 1.5)])
def test_phi_equals_a_loop_over_clusters(t: float, alpha: float) -> None:
    d, assigned = distances_in_clusters()
    phi = concentrations(d, assigned, 11, temperature=t, alpha=alpha)
    wanted = phi_by_hand(d.tolist(), assigned.tolist(), 11, t, alpha)
    torch.testing.assert_close(phi, wanted, rtol=1e-12, atol=0)
    assert phi.mean().item() == pytest.approx(t)
    # Of one image or none: the largest. Here three share it, so nothing is clipped at the top:
    # see `test_clusters_are_of_used_images_alone`.
    assert phi[1] == phi[2] == phi[6] == phi.max()
    assert (phi < phi.max()).any()


def test_phi_moves_with_its_cluster() -> None:
    d, assigned = distances_in_clusters()
    order = torch.randperm(11, generator=torch.Generator().manual_seed(3))
    phi = concentrations(d, assigned, 11, temperature=0.2)
    moved = concentrations(d, order[assigned], 11, temperature=0.2)
    torch.testing.assert_close(moved[order], phi, rtol=1e-12, atol=0)


@pytest.mark.parametrize("sizes", [[4], [1], [1, 1, 1], [3, 2, 4]])
def test_phi_without_any_distance_is_the_temperature(sizes: list[int]) -> None:
    assigned = torch.repeat_interleave(torch.tensor(sizes))
    phi = concentrations(torch.zeros(len(assigned)), assigned, len(sizes), temperature=0.3)
    torch.testing.assert_close(phi, torch.full((len(sizes),), 0.3))


def test_phi_of_equal_images_stays_above_nought() -> None:
    """Four of five clusters are points, so the 10th percentile is 0 too."""
    assigned = torch.arange(5).repeat(3)
    phi = concentrations(1.0 * (assigned == 4), assigned, 5, temperature=0.2)
    assert (phi > 1e-3).all()
    assert phi.mean().item() == pytest.approx(0.2)


def prototypes_and_images() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """B=6, k=9, D=4; the images are of clusters 2, 5 and 7."""
    rng = torch.Generator().manual_seed(1)
    v = F.normalize(torch.randn(6, 4, generator=rng, dtype=torch.float64), dim=1)
    c = F.normalize(torch.randn(9, 4, generator=rng, dtype=torch.float64), dim=1)
    phi = 0.1 + torch.rand(9, generator=rng, dtype=torch.float64)
    return v, c, phi, torch.tensor([5, 2, 2, 7, 5, 2])


def proto_by_hand(v: Tensor, c: Tensor, phi: Tensor, assigned: Tensor, drawn: list[int]) -> float:
    kept = set(assigned.tolist()) | set(drawn)
    total = 0.0
    for row, s in zip(v.tolist(), assigned.tolist(), strict=True):
        score = {
            j: math.exp(sum(a * b for a, b in zip(row, c[j].tolist(), strict=True)) / phi[j].item())
            for j in kept
        }
        total -= math.log(score[s] / sum(score.values()))
    return total / len(v)


def drawn_by_hand(num: int, seed: int) -> list[int]:
    """The r others of the least random numbers."""
    draw = torch.rand(9, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted({0, 1, 3, 4, 6, 8}, key=lambda j: draw[j])[:num]


@pytest.mark.parametrize("num", [0, 1, 4, 6, 7, 256])
def test_proto_nce_equals_a_loop_over_images(num: int) -> None:
    given = prototypes_and_images()
    loss = proto_nce(*given, num_negatives=num, generator=torch.Generator().manual_seed(8))
    wanted = proto_by_hand(*given, drawn_by_hand(num, 8))
    assert loss.item() == pytest.approx(wanted, rel=1e-12)


def test_repeated_positives_are_the_authors_denominator() -> None:
    """Their code lists the prototype of every image of the batch, then the negatives."""
    v, c, phi, assigned = prototypes_and_images()
    listed = [*assigned.tolist(), *drawn_by_hand(4, 8)]
    assert len(set(assigned.tolist())) < len(assigned)
    wanted = 0.0
    for row, s in zip(v.tolist(), assigned.tolist(), strict=True):
        scores = [
            math.exp(sum(a * b for a, b in zip(row, c[j].tolist(), strict=True)) / phi[j].item())
            for j in [s, *listed]
        ]
        wanted -= math.log(scores[0] / sum(scores[1:])) / len(v)
    loss = proto_nce(
        v, c, phi, assigned, num_negatives=4, generator=torch.Generator().manual_seed(8),
        repeat_positives=True,
    )  # fmt: skip
    assert loss.item() == pytest.approx(wanted, rel=1e-12)


def test_drawn_prototypes_are_others_each_as_often() -> None:
    """In what the gradient of phi touches: the batch's three, and two of six others."""
    v, c, phi, assigned = prototypes_and_images()
    phi.requires_grad_()
    often = torch.zeros(9)
    for seed in range(300):
        rng = torch.Generator().manual_seed(seed)
        loss = proto_nce(v, c, phi, assigned, num_negatives=2, generator=rng)
        touched = torch.autograd.grad(loss, phi)[0] != 0
        assert touched.sum() == 5
        often += touched
    assert (often[[2, 5, 7]] == 300).all()
    # 100 each, with a deviation of 8.
    assert (often[[0, 1, 3, 4, 6, 8]] - 100).abs().max() < 30


def test_proto_nce_does_not_depend_on_the_clusters_order() -> None:
    v, c, phi, assigned = prototypes_and_images()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    back = order.argsort()
    options: dict[str, Any] = {"num_negatives": 6, "generator": torch.Generator()}
    moved = proto_nce(v, c[back], phi[back], order[assigned], **options)
    torch.testing.assert_close(proto_nce(v, c, phi, assigned, **options), moved)


def test_gradient_of_proto_nce() -> None:
    v, c, phi, assigned = prototypes_and_images()

    def loss_of(v: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed(8)
        return proto_nce(v, c, phi, assigned, num_negatives=3, generator=rng)

    assert torch.autograd.gradcheck(loss_of, v.requires_grad_())


def test_one_prototype_costs_nothing_and_an_empty_batch_stays_in_the_graph() -> None:
    v, c, phi, assigned = prototypes_and_images()
    options: dict[str, Any] = {"num_negatives": 4, "generator": torch.Generator()}
    assert proto_nce(v, c[:1], phi[:1], torch.zeros_like(assigned), **options) == 0
    none = v[:0].requires_grad_()
    loss = proto_nce(none, c, phi, assigned[:0], **options)
    loss.backward()
    assert loss == 0


def blobs() -> np.ndarray:
    """Seven clear clusters of uneven size."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(7), [10, 90, 40, 25, 60, 15, 33])
    middles = 5 * rng.standard_normal((7, 8))
    return (middles[truth] + 0.3 * rng.standard_normal((273, 8))).astype(np.float32)


def test_kmeans_is_as_good_as_sklearns(capfd: pytest.CaptureFixture[str]) -> None:
    rows = blobs()
    found = kmeans(rows, 7, seed=0)
    other = KMeans(7, n_init=10, random_state=0).fit(rows)
    assert np.square(found.distances).sum() == pytest.approx(other.inertia_, rel=1e-4)
    apart = np.linalg.norm(rows[:, None].astype(float) - found.centroids, axis=2)
    assert (found.assigned == apart.argmin(axis=1)).all()
    np.testing.assert_allclose(found.distances, apart.min(axis=1), rtol=1e-4)
    means = [rows[found.assigned == j].mean(axis=0) for j in range(7)]
    np.testing.assert_allclose(found.centroids, means, rtol=1e-4, atol=1e-5)
    assert capfd.readouterr() == ("", "")


def test_kmeans_is_a_function_of_its_seed() -> None:
    rows = np.random.default_rng(1).standard_normal((400, 5)).astype(np.float32)
    first, again, other = (kmeans(rows, 20, seed=seed) for seed in (3, 3, 4))
    assert (first.centroids == again.centroids).all()
    assert (first.assigned == again.assigned).all()
    assert (first.centroids != other.centroids).any()


def test_kmeans_of_fewer_vectors_than_clusters(capfd: pytest.CaptureFixture[str]) -> None:
    rows = blobs()[::40]
    found = kmeans(rows, 50, seed=0)
    assert found.centroids.shape == rows.shape
    assert (found.centroids[found.assigned] == rows).all()
    assert (found.distances == 0).all()
    same = kmeans(np.repeat(rows[:1], 9, axis=0), 4, seed=0)
    assert len(same.centroids) == 4
    assert np.isfinite(same.centroids).all()
    assert (same.distances < 1e-2).all()
    assert capfd.readouterr() == ("", "")


CENTRES = torch.eye(4)[:3]


def memory(seed: int = 5) -> Memory:
    """60 images around five directions; every seventh, held out, far from all of them."""
    rng = torch.Generator().manual_seed(seed)
    middles = torch.cat([torch.eye(4), torch.full((1, 4), 0.5)])
    rows = middles[torch.arange(60) % 5] + 0.1 * torch.randn(60, 4, generator=rng)
    used = torch.arange(60) % 7 != 6
    rows = torch.where(used[:, None], rows, -rows)
    return Memory(F.normalize(rows, dim=1), torch.full((60,), -1), used, CENTRES, 17)


def batch(progress: float = 0.5) -> EmbeddedBatch:
    """Three labelled and five others; the images of rows 0, 5, 10 and 25 are near each other."""
    rng = torch.Generator().manual_seed(4)
    rows = [F.normalize(torch.randn(n, 4, generator=rng), dim=1) for n in (3, 3, 5, 5)]
    return EmbeddedBatch(
        labelled=(rows[0].requires_grad_(), rows[1]),
        labels=torch.tensor([0, 2, 0]),
        unlabelled=(rows[2].requires_grad_(), rows[3]),
        centres=CENTRES,
        progress=progress,
        labelled_rows=torch.tensor([0, 1, 5]),
        unlabelled_rows=torch.tensor([10, 22, 31, 25, 57]),
    )


ROWS = torch.tensor([0, 1, 5, 10, 22, 31, 25, 57])
SMALL: dict[str, Any] = {"num_clusters": (12, 5, 8), "num_negatives": 3, "refresh_every": 4}


def views(given: EmbeddedBatch) -> list[Tensor]:
    return [torch.cat(pair) for pair in zip(given.labelled, given.unlabelled, strict=True)]


def run(objective: ProtoNCE, steps: range, total: int) -> list[dict[str, Tensor]]:
    found = []
    for step in steps:
        objective.before_step(step, lambda: memory(seed=step))  # noqa: B023
        found.append(objective(batch(step / total)))
    return found


def test_clusters_are_of_used_images_alone() -> None:
    told = memory()
    found = cluster(told, 5, seed=0, temperature=0.2)
    assert ((found.assigned == -1) == ~told.used).all()
    groups = [
        set(found.assigned[told.used & (torch.arange(60) % 5 == j)].tolist()) for j in range(5)
    ]
    assert sorted(map(sorted, groups)) == [[j] for j in range(5)]
    torch.testing.assert_close(found.prototypes.norm(dim=1), torch.ones(5))
    for j in range(5):
        rows = told.embeddings[found.assigned == j]
        torch.testing.assert_close(found.prototypes[j], F.normalize(rows.mean(dim=0), dim=0))
    moved = replace(
        told, embeddings=torch.where(told.used[:, None], told.embeddings, CENTRES[0, 0])
    )
    assert torch.equal(cluster(moved, 5, seed=0, temperature=0.2).phi, found.phi)
    own = told.embeddings[told.used]
    middles = torch.stack([own[found.assigned[told.used] == j].mean(dim=0) for j in range(5)])
    clusters = found.assigned[told.used]
    d = (own - middles[clusters]).norm(dim=1)
    wanted = phi_by_hand(d.tolist(), clusters.tolist(), 5, 0.2, 10.0)
    torch.testing.assert_close(found.phi.double(), wanted, rtol=1e-4, atol=0)


def test_images_of_one_cluster_are_not_each_others_negatives() -> None:
    """By the coarsest clustering, which stands second among the options."""
    objective = ProtoNCE(warmup=0.0, temperature=0.3, **SMALL)
    objective.before_step(0, memory)
    given = batch()
    terms = objective(given)
    different = ROWS[:, None] % 5 != ROWS % 5
    assert (~different).sum() > 8
    wanted = nt_xent(views(given), temperature=0.3, dissimilar=different)
    torch.testing.assert_close(terms["instance"], wanted)
    plain = nt_xent(views(given), temperature=0.3)
    assert (terms["instance"] - plain).abs() > 1e-2
    # Rows 0 and 5 have one label, and one cluster: they are not pushed apart.
    assert terms["false_negatives"] == 0
    papers = ProtoNCE(warmup=0.0, temperature=0.3, same_cluster_negatives=True, **SMALL)
    papers.before_step(0, memory)
    found = papers(given)
    torch.testing.assert_close(found["instance"], plain)
    torch.testing.assert_close(found["prototype"], terms["prototype"])


def test_loss_is_the_sum_of_instance_and_the_mean_over_clusterings() -> None:
    objective = ProtoNCE(warmup=0.0, temperature=0.3, **(SMALL | {"num_negatives": 2}))
    told = memory()
    objective.before_step(0, lambda: told)
    objective.before_step(3, lambda: told)
    given = batch()
    terms = objective(given)
    draw, seeds = generator(17, 3, "pcl"), generator(17, 0, "kmeans")
    total = 0.0
    for num in (5, 8, 12):
        seed = int(torch.randint(2**31, (1,), generator=seeds))
        made = cluster(told, num, seed=seed, temperature=0.3)
        clusters = made.assigned[ROWS]
        order = torch.rand(num, generator=draw).tolist()
        rest = set(range(num)) - set(clusters.tolist())
        others = sorted(rest, key=lambda j: order[j])[:2]  # noqa: B023
        for view in views(given):
            total += proto_by_hand(view, made.prototypes, made.phi, clusters, others) / 6
    assert terms["prototype"].item() == pytest.approx(total, rel=1e-5)
    torch.testing.assert_close(terms["loss"], terms["instance"] + terms["prototype"])
    terms["loss"].backward()
    assert given.unlabelled[0].grad is not None
    assert given.unlabelled[0].grad.abs().sum() > 0


def test_warm_up_is_info_nce_alone() -> None:
    terms = run(ProtoNCE(warmup=0.3, **SMALL), range(10), 10)
    plain = nt_xent(views(batch()), temperature=0.2)
    for found in terms[:4]:
        torch.testing.assert_close(found["loss"], plain)
        assert found["prototype"] == 0
    assert all(found["prototype"] > 0 for found in terms[4:])
    assert run(ProtoNCE(warmup=0.0, **SMALL), range(1), 10)[0]["prototype"] > 0
    assert run(ProtoNCE(warmup=1.0, **SMALL), range(10), 10)[9]["prototype"] == 0


@pytest.mark.parametrize(
    ("warmup", "wanted"), [(0.0, [0, 4, 8]), (0.5, [6, 8]), (0.65, [8]), (0.75, [9]), (1.0, [])]
)
def test_clusters_anew_every_so_often(warmup: float, wanted: list[int]) -> None:
    objective = ProtoNCE(warmup=warmup, **SMALL)
    calls: list[int] = []
    for step in range(10):
        objective.before_step(step, lambda: calls.append(step) or memory())  # noqa: B023
        objective(batch(step / 10))
    assert calls == wanted


@pytest.mark.parametrize("stop", [2, 3, 4, 6])
def test_a_resumed_run_goes_on_identically(stop: int, tmp_path: Path) -> None:
    """Within the warm-up, just before the first clusters are due, after it, and later."""
    make: Callable[[], ProtoNCE] = lambda: ProtoNCE(warmup=0.2, **SMALL)  # noqa: E731
    whole = run(make(), range(10), 10)
    stopped, again = make(), make()
    run(stopped, range(stop), 10)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    rest = run(again, range(stop, 10), 10)
    for one, other in zip(whole[stop:], rest, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole[9]["loss"] != whole[8]["loss"]  # of one clustering, but another draw


def test_yaml_makes_the_objective_with_its_defaults() -> None:
    made = build(compose_settings("train", ["objective=pcl"]).objective)
    plain = ProtoNCE()
    names = ("num_clusters", "num_negatives", "refresh_every", "warmup", "contrast_temperature")
    assert {n: getattr(made, n) for n in names} == {n: getattr(plain, n) for n in names}
    assert made.temperature is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_clusters": []}, r"each at least 2, got \[\]"),
        ({"num_clusters": [3, 1]}, r"each at least 2, got \[3, 1\]"),
        ({"num_negatives": -1}, "num_negatives must be at least 0, got -1"),
        ({"refresh_every": 0}, "refresh_every must be at least 1, got 0"),
        ({"warmup": 1.1}, r"warmup must be in \[0, 1\], got 1\.1"),
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
    ],
)
def test_refuses_options_out_of_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ProtoNCE(**options)


def test_refuses_a_batch_before_the_first_step() -> None:
    with pytest.raises(ValueError, match="before_step must be called"):
        ProtoNCE()(batch())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
        ({"temperature": 0.2, "alpha": -1.0}, "alpha must be at least 0, got -1"),
        ({"temperature": 0.2, "num": 0}, "num must be at least 1, got 0"),
    ],
)
def test_phi_refuses_options_out_of_range(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        concentrations(torch.ones(3), torch.zeros(3).long(), **({"num": 1} | options))


def test_proto_nce_refuses_a_negative_number() -> None:
    with pytest.raises(ValueError, match="num_negatives must be at least 0, got -2"):
        proto_nce(*prototypes_and_images(), num_negatives=-2, generator=torch.Generator())


@pytest.mark.parametrize(
    ("rows", "num", "said"),
    [
        (np.ones((3, 2)), 0, "num must be at least 1, got 0"),
        (np.ones((0, 2)), 1, r"at least one row, got \(0, 2\)"),
        (np.array([[1.0, np.nan]]), 1, "vectors must be finite"),
    ],
)
def test_kmeans_refuses(rows: np.ndarray, num: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kmeans(rows.astype(np.float32), num, seed=0)
