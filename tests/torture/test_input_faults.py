"""Mistakes at the command line, each told in one line with its name and a remedy (R13)."""

from pathlib import Path

import pytest
from torture_figures.fault_rows import ROWS, Fault
from torture_figures.fault_world import prepare
from torture_figures.r13_input_faults import missing_of, naive


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    prepare(folder)
    return folder


@pytest.mark.parametrize("row", ROWS, ids=[row.words for row in ROWS])
def test_mistake_is_told_with_name_and_remedy(
    row: Fault, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    assert not missing_of(row, world)


def test_mistakes_leave_nothing_behind(world: Path) -> None:
    """Runs after the rows: none of them has made a model, an index or a bank."""
    assert not [name for name in ("i", "x.safetensors", "runs") if (world / name).exists()]
    assert not list(world.glob("new-*/model.safetensors"))


def test_catalogue_is_as_large_as_asked() -> None:
    assert len({row.words for row in ROWS}) == len(ROWS) >= 60


def test_libraries_messages_would_not_do() -> None:
    """The catalogue's measure can fail: it does for most of the libraries' own words."""
    good, num = naive()
    assert good < num / 2
