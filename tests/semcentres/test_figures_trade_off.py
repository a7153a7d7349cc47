"""Tests of the trade-off's picture: all points are in it, odd ones draw, none are refused."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from centre_builders.errors import InputError
from centre_builders.trade_off import Point
from semcentres.evaluation.figures_trade_off import draw_recorded, draw_trade_off

POINTS = (
    Point(cap=None, largest_cosine=0.9, gram_error=0.0, rank_correlation=1.0),
    Point(cap=0.5, largest_cosine=0.51, gram_error=0.03, rank_correlation=0.97),
    Point(cap=0.0, largest_cosine=0.04, gram_error=0.2, rank_correlation=-0.3),
    Point(cap=-0.2, largest_cosine=-0.2, gram_error=0.3, rank_correlation=None),
)


def pixels(points: tuple[Point, ...], path: Path, asked: float | None = None) -> np.ndarray:
    draw_trade_off(points, path, asked=asked)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("num", [1, 2, 4])
def test_draws_and_cuts_nothing_off(num: int, tmp_path: Path) -> None:
    drawn = pixels(POINTS[-num:], tmp_path / "deep" / "a.png", asked=0.25)
    assert drawn.std() > 5
    assert (np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]]) == 255).all()


def test_order_of_points_is_nothing(tmp_path: Path) -> None:
    first = pixels(POINTS, tmp_path / "a.png")
    shuffled = tuple(POINTS[i] for i in (2, 0, 3, 1))
    np.testing.assert_array_equal(first, pixels(shuffled, tmp_path / "b.png"))


def test_every_point_and_the_asked_cap_show(tmp_path: Path) -> None:
    seen = [pixels(POINTS, tmp_path / "a.png").tobytes()]
    seen += [
        pixels((*POINTS[:i], *POINTS[i + 1 :]), tmp_path / "b.png").tobytes() for i in range(4)
    ]
    seen.append(pixels(POINTS, tmp_path / "c.png", asked=0.25).tobytes())
    seen.append(pixels((replace(POINTS[0], cap=0.9), *POINTS[1:]), tmp_path / "d.png").tobytes())
    assert len(set(seen)) == 7


def test_draws_what_a_builder_recorded_and_nothing_else(tmp_path: Path) -> None:
    source = {"trade_off": [asdict(p) for p in POINTS], "reached": asdict(POINTS[1])}
    draw_recorded(source, tmp_path / "a.png")
    draw_recorded({"model": "x"}, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()
    pixels(POINTS, tmp_path / "c.png", asked=0.5)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_refuses_no_points(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no point of a trade-off"):
        draw_trade_off((), tmp_path / "a.png")
