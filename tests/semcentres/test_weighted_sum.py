"""Tests of the sum of objectives: weights, schedules, states and hooks of its parts."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.centre_softmax import CentreSoftmax
from semcentres.objectives.cluster_energy import ClusterEnergy
from semcentres.objectives.memory import Memory
from semcentres.objectives.weighted_sum import Part, WeightedSum


def batch(progress: float = 0.5) -> EmbeddedBatch:
    rng = torch.Generator().manual_seed(0)
    rows = [F.normalize(torch.randn(n, 3, generator=rng), dim=1) for n in (5, 5, 6, 6, 4)]
    return EmbeddedBatch(
        labelled=(rows[0].requires_grad_(), rows[1]),
        labels=torch.tensor([2, 0, 3, 0, 1]),
        unlabelled=(rows[2], rows[3]),
        centres=rows[4],
        progress=progress,
        labelled_rows=torch.arange(5),
        unlabelled_rows=torch.arange(5, 11),
    )


class Learnt(nn.Module):
    """An objective with a weight, a state and a hook."""

    temperature: float | None = 0.4

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.seen: list[int] = []

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        return {"loss": self.scale * batch.labelled[0].square().sum()}

    def before_step(self, step: int, remember: Callable[[], Memory]) -> None:
        self.seen.append(step)


def test_loss_is_the_weighted_sum_and_terms_are_named() -> None:
    softmax, energy = CentreSoftmax(), ClusterEnergy(temperature=0.2)
    both = WeightedSum(
        parts={"a": {"objective": softmax, "weight": 0.5}, "b": {"objective": energy}}
    )
    terms = both(batch())
    a, b = softmax(batch()), energy(batch())
    torch.testing.assert_close(terms["loss"], 0.5 * a["loss"] + b["loss"])
    assert terms["b.unlabelled"] == b["unlabelled"]
    assert set(terms) == {"loss", "a.loss", *(f"b.{name}" for name in b)}
    assert both.temperature == 0.2


@pytest.mark.parametrize(
    ("progress", "wanted"), [(0.0, 0), (0.2, 0), (0.3, 1), (0.4, 2), (0.79, 2), (0.8, 0), (0.9, 0)]
)
def test_part_counts_between_start_and_stop(progress: float, wanted: float) -> None:
    part = Part(objective=CentreSoftmax(), weight=2.0, start=0.2, stop=0.8, ramp=0.2)
    assert part.at(progress) == pytest.approx(wanted)


def test_switched_off_part_is_not_computed_and_the_graph_stays() -> None:
    both = WeightedSum(parts={"a": {"objective": CentreSoftmax(), "stop": 0.5}})
    assert set(both(batch(0.4))) == {"loss", "a.loss"}
    terms = both(batch(0.5))
    assert set(terms) == {"loss"}
    assert terms["loss"] == 0
    terms["loss"].backward()


def test_parameters_state_and_hooks_of_parts_are_found() -> None:
    learnt = Learnt()
    both = WeightedSum(
        parts={"l": {"objective": learnt}, "s": {"objective": CentreSoftmax(), "start": 0.9}}
    )
    assert [name for name, _ in both.named_parameters()] == ["modules_of.l.scale"]
    assert both.temperature == 0.4
    both.before_step(7, lambda: pytest.fail("nobody asked to remember"))
    assert learnt.seen == [7]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 0.5, "stop": 0.5}, r"start=0\.5, stop=0\.5"),
        ({"stop": 1.5}, r"stop=1\.5"),
        ({"ramp": -0.1}, r"ramp must be in \[0, 1\], got -0\.1"),
    ],
)
def test_refuses_schedules_out_of_range(options: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Part(objective=CentreSoftmax(), **options)
    with pytest.raises(ValueError, match="parts is empty"):
        WeightedSum(parts={})


def test_a_part_that_has_stopped_is_not_prepared() -> None:
    """What it remembers would cost a pass over the whole training set for nothing."""
    learnt = Learnt()
    both = WeightedSum(
        parts={"a": {"objective": learnt, "stop": 0.5}, "b": {"objective": CentreSoftmax()}}
    )
    for step, progress in enumerate((0.0, 0.4, 0.5, 0.9)):
        both.before_step(step, lambda: pytest.fail("nobody asked"))
        both(batch(progress))
    assert learnt.seen == [0, 1, 2]  # the step at 0.5 is prepared before its batch is seen
