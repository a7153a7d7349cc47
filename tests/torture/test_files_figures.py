"""The short versions of the figures of files; scripts/torture.py runs the long ones."""

from torture_figures import r8_neighbours
from torture_figures.alone import alone


def test_changed_artefacts_are_refused_or_as_before() -> None:
    found = alone("r5_artefacts", "100, 0")
    assert found["passed"], found


def test_no_payload_runs() -> None:
    # 29 is prime to all lengths, so that every loader, verb and payload has its turn.
    found = alone("r6_payloads", "1, 0, step=29")
    assert found["passed"], found


def test_neighbours_keep_their_contract() -> None:
    found = r8_neighbours.run(60, 0)
    assert found["passed"], found
