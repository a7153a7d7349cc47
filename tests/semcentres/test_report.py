"""Tests of the report's pictures: what is chosen, that words fit, that odd input draws."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from centre_builders.errors import InputError
from semcentres.evaluation import canvas
from semcentres.evaluation.canvas import short, shown
from semcentres.evaluation.figures_curves import _curves
from semcentres.evaluation.figures_gallery import choose_queries
from semcentres.evaluation.figures_toy import response_ratio
from semcentres.evaluation.report import (
    draw_confusion,
    draw_curves,
    draw_gallery,
    draw_gram,
    draw_map,
    draw_toy,
)

RNG = np.random.default_rng(0)
ODD = ["T-shirt/top", "$x$ costs $5", "a very long name of a class indeed", "AC/DC", "<b>", "50%"]


def names(num: int) -> list[str]:
    return [ODD[i] if i < len(ODD) else f"class {i}" for i in range(num)]


def gram(num: int, path: Path) -> None:
    centres = RNG.standard_normal((num, 7))
    means = centres + RNG.standard_normal((num, 7))
    means[0], means[1] = 0, np.nan
    draw_gram(centres, means, names(num), path)


def confusion(num: int, path: Path) -> None:
    matrix = RNG.integers(0, 50, (num, num))
    matrix[0] = 0
    draw_confusion(matrix, names(num), path)


def gallery(channels: int, path: Path, num: int = 9) -> None:
    images = RNG.integers(0, 256, (num, channels, 5, 4)).astype(np.uint8)
    ids = np.array([[j for j in range(num) if j != i] for i in range(num)])
    cosines = np.sort(RNG.uniform(-1, 1, ids.shape).astype(np.float32))[:, ::-1]
    labels, found = np.arange(num) % 3, {"found_images": images, "found_labels": np.arange(num) % 3}
    draw_gallery(images, labels, ids, cosines, names(3), path, columns=4, **found)


def curves(num: int, path: Path) -> None:
    records = [{"step": i, "loss": 1 / i, "rate": 3, "stage": "a"} for i in range(1, num + 1)]
    draw_curves([*records, {"step": num, "eval/accuracy": 0.5, "loss": float("nan")}], path)


def embedding_map(num: int, path: Path) -> None:
    rows = RNG.standard_normal((num, 6))
    centres = RNG.standard_normal((3, 6))
    draw_map(rows, np.arange(num) % 3, centres, names(3), path)


def toy(num: int, path: Path) -> None:
    clusters = np.arange(num) % 4
    centres = RNG.standard_normal((4, 2))
    draw_toy(RNG.standard_normal((num, 3)), clusters, np.eye(2, 3), centres, names(4), path)


DRAWINGS: list[tuple[Callable[[Any, Path], None], int]] = [
    (gram, 2), (gram, 12), (gram, 100),
    (confusion, 2), (confusion, 12), (confusion, 100),
    (gallery, 1), (gallery, 3), (curves, 1), (curves, 200), (toy, 30),
    (embedding_map, 2), (embedding_map, 1500),
]  # fmt: skip


@pytest.mark.parametrize(("draw", "size"), DRAWINGS)
def test_draws_a_picture(draw: Callable[[Any, Path], None], size: int, tmp_path: Path) -> None:
    draw(size, tmp_path / "deep" / "picture.png")
    with Image.open(tmp_path / "deep" / "picture.png") as picture:
        assert picture.format == "PNG"
        colours = np.asarray(picture.convert("L"))
        assert picture.info["dpi"][0] == pytest.approx(150, abs=1)
    assert colours.std() > 5
    # The frame is blank: nothing is cut off at the edge.
    assert (np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]]) == 255).all()


@pytest.mark.parametrize(("draw", "size"), [(gram, 3), (gram, 25), (gram, 100), (confusion, 100)])
def test_words_do_not_overlap(
    draw: Callable[[Any, Path], None], size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []
    monkeypatch.setattr(
        "semcentres.evaluation.figures_matrices.save",
        lambda figure, path: (figures.append(figure), canvas.save(figure, path)),
    )
    draw(size, tmp_path / "picture.png")
    for axes in figures[0].axes[:-1]:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels(), [axes.title]):
            boxes = [label.get_window_extent() for label in labels if label.get_text()]
            assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_confusion(np.eye(3, dtype=np.int64), names(3), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_chooses_best_worst_and_of_different_classes() -> None:
    right = np.array([[1, 1], [1, 1], [1, 0], [0, 1], [0, 0], [0, 0], [1, 1], [1, 0]], bool)
    cosines = np.array([[9, 8], [9, 9], [9, 9], [9, 9], [3, 2], [9, 2], [2, 1], [9, 0]]) / 10
    labels = np.array([0, 0, 1, 2, 1, 1, 0, 0])
    chosen = choose_queries(right, cosines, labels, 3, seed=0)
    # Image 1 before 0 by cosine; then the best of classes 1 and 2, before more of class 0.
    assert chosen["best"] == [1, 2, 3]
    # All right, though far, comes before half right and near: 6 before 7.
    everything = choose_queries(right, cosines, labels, 99, seed=0)["best"]
    assert everything == [1, 2, 3, 0, 6, 7, 4, 5]
    # Image 5 before 4, being surer of what is wrong; then the worst of classes 2 and 0.
    assert chosen["worst"] == [5, 3, 7]
    assert len(set(chosen["random"])) == 3


@pytest.mark.parametrize(("num", "step"), [(1, 1), (40, 1), (41, 2), (100, 3), (1000, 25)])
def test_thins_out_labels(num: int, step: int) -> None:
    assert shown(num) == range(0, num, step)
    assert len(shown(num)) <= 40


def test_shortens_names_and_reads_no_formula() -> None:
    assert short("Ankle boot") == "Ankle boot"
    assert short("abcdefgh", 5) == "abcd\N{HORIZONTAL ELLIPSIS}"
    assert short("$a$") == r"\$a\$"


def test_curves_keep_finite_numbers_in_order() -> None:
    records = [{"step": 1, "b": 2.0, "a": float("inf")}, {"step": 5, "a": 3, "b": 4.0, "c": "x"}]
    found = _curves(records)
    assert {key: points.tolist() for key, points in found.items()} == {
        "b": [[1, 2], [5, 4]],
        "a": [[5, 3]],
    }


def test_response_ratio() -> None:
    """The least response to a direction of x counts: here 2, along the second axis."""
    assert response_ratio(np.array([[5, 0, 0.03], [0, -2, 0.04]])) == pytest.approx(0.025)
    assert response_ratio(np.array([[1.0, 1, 0], [1, 1, 0]])) == float("inf")
    assert response_ratio(np.zeros((2, 3))) == float("inf")


def test_refuses_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training records"):
        draw_curves([{"step": 1, "loss": float("nan")}], tmp_path / "a.png")
    with pytest.raises(InputError, match="2 channels, wanted 1"):
        gallery(2, tmp_path / "b.png")
    assert list(tmp_path.iterdir()) == []
