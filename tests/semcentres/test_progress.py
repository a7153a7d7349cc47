"""What a long run says off a terminal, where nothing may be drawn."""

import pytest

from semcentres import progress
from semcentres.progress import Progress, counting


def test_what_is_soon_over_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with counting(4, "images") as count:
        count(4)
    assert capsys.readouterr() == ("", "")


def test_what_takes_long_says_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    with counting(4, "images") as count:
        count(1)
        count(2)
    assert capsys.readouterr() == ("", "1/4 images\n3/4 images\n")


def test_steps_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(40, 10) as shown:
        shown.show(20, {"step": 20, "loss": 0.5, "of views": [1, 2]}, images=3.0)
    assert capsys.readouterr() == ("", "step 20/40  loss 0.5  images 3\n")
