"""Every objective's terms and gradients are finite for any finite embedding and any subset."""

from functools import cache
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from semcentres.components import build
from semcentres.compose import compose_settings, options
from semcentres.objectives.batch import EmbeddedBatch, Objective
from semcentres.objectives.memory import Memory, Remembering

K, D, N = 4, 6, 30
# Raw outputs of a backbone, one row each: what is special about it, and its numbers.
ROWS = {
    "zero": torch.zeros(D),
    "denormal": torch.full((D,), 1e-45),
    "tiny": torch.full((D,), 1e-20),
    "huge": torch.full((D,), 1e30),
    "largest": torch.full((D,), torch.finfo(torch.float32).max),
    "a centre": torch.eye(D)[0],
    "opposite to it": -torch.eye(D)[0],
}
# Labelled and unlabelled images.
SUBSETS = [(3, 4), (3, 0), (0, 4), (1, 0), (0, 1), (0, 0)]
LENGTHS = [1.0, 0.3, 1e-20]  # of embeddings: encoders with a Lipschitz constant give below 1
# Terms of one of the two alone: 0 where there is none of it.
OF_LABELLED = {
    **dict.fromkeys(("centre_softmax", "cosine", "cross_entropy", "devise"), ["loss"]),
    **dict.fromkeys(("dot_regression", "suncet", "supcon"), ["loss"]),
    **dict.fromkeys(("adversarial", "cluster_energy", "fixmatch"), ["labelled"]),
    "simclr_suncet": ["suncet.loss"],
    "paws": ["loss", "consistency", "balance"],
    "sum": ["a.labelled"],
}
OF_UNLABELLED = {
    **dict.fromkeys(("adversarial", "cluster_energy"), ["unlabelled", "balance"]),
    "fixmatch": ["unlabelled"],
    "paws": ["loss", "consistency", "balance"],
    "sum": ["a.unlabelled", "a.balance"],
}


@cache
def objective_of(name: str) -> Objective:
    more = ["objective.num_classes=4", f"centres.dimension={D}"] if name == "cross_entropy" else []
    if name == "pcl":
        more = ["objective.num_clusters=[2,3]", "objective.num_negatives=2", "objective.warmup=0.0"]
    if name == "sum":
        more = ["+objective@objective.parts.a.objective=cluster_energy"]
    torch.manual_seed(0)
    found: Objective = build(
        compose_settings("train", ["data=mnist_5k", f"objective={name}", *more]).objective
    )
    if isinstance(found, Remembering):
        found.before_step(0, memory)
    return found


def memory() -> Memory:
    draw = torch.Generator().manual_seed(1)
    rows = F.normalize(torch.randn(N, D, generator=draw), dim=1)
    labels = torch.arange(N) % K
    labels[::2] = -1
    return Memory(rows, labels, torch.ones(N, dtype=torch.bool), torch.eye(K, D), seed=0)


def losses(
    name: str, raw: torch.Tensor, num_labelled: int, *, length: float = 1.0, classes: int = K
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return the terms of raw embeddings [V B D], the labelled ones first, and their gradient."""
    raw = raw.clone().requires_grad_()
    embeddings = length * F.normalize(raw, dim=-1)
    labelled, unlabelled = embeddings[:, :num_labelled], embeddings[:, num_labelled:]
    num_unlabelled = unlabelled.shape[1]
    batch = EmbeddedBatch(
        labelled=tuple(labelled),
        labels=torch.arange(num_labelled) % classes,
        unlabelled=tuple(unlabelled),
        centres=torch.eye(K, D),
        progress=0.4,
        labelled_rows=torch.arange(num_labelled),
        unlabelled_rows=torch.arange(10, 10 + num_unlabelled),
    )
    terms = objective_of(name)(batch)
    terms["loss"].backward()
    assert raw.grad is not None, "the loss is connected to the embeddings"
    return terms, raw.grad


@pytest.mark.parametrize("name", options("objective"))
def test_terms_and_gradients_are_finite(name: str) -> None:
    """One row of each kind among ordinary ones, in both views, labelled and not; then all alike."""
    draw = torch.Generator().manual_seed(2)
    for kind, row in ROWS.items():
        for rows in ([0], [6], range(7)):
            raw = torch.randn(2, 7, D, generator=draw)
            raw[:, list(rows)] = row
            terms, gradient = losses(name, raw, 3)
            spoilt = [term for term, value in terms.items() if not value.isfinite()]
            assert not spoilt, (kind, list(rows))
            assert gradient.isfinite().all(), (kind, list(rows))


@pytest.mark.parametrize("name", options("objective"))
def test_subsets_are_finite_and_connected_and_empty_ones_cost_nothing(name: str) -> None:
    """For embeddings of any length, and labels of many classes and of one."""
    draw = torch.Generator().manual_seed(3)
    for (num_labelled, num_unlabelled), length, classes in product(SUBSETS, LENGTHS, (K, 1)):
        raw = torch.randn(2, num_labelled + num_unlabelled, D, generator=draw)
        at = (num_labelled, num_unlabelled, length, classes)
        terms, gradient = losses(name, raw, num_labelled, length=length, classes=classes)
        assert not [term for term, value in terms.items() if not value.isfinite()], at
        assert gradient.isfinite().all(), at
        empty = [] if num_labelled else OF_LABELLED.get(name, [])
        empty = empty if num_unlabelled else [*empty, *OF_UNLABELLED.get(name, [])]
        empty = empty if num_labelled + num_unlabelled else [*empty, "loss"]
        assert not [term for term in empty if terms[term] != 0], at


@pytest.mark.parametrize("name", ["suncet", "supcon"])
def test_images_without_another_of_their_class_cost_nothing(name: str) -> None:
    """In one view, so that not even their own is there."""
    raw = torch.randn(1, 3, D, generator=torch.Generator().manual_seed(4))
    for length in LENGTHS:
        terms, gradient = losses(name, raw, 3, length=length)
        assert terms["loss"] == 0
        assert gradient.eq(0).all()
