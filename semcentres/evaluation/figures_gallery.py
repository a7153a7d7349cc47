"""The retrieval gallery: queries beside their nearest neighbours.

Dimensions: N queries, M images that they are looked for in, C channels, H x W, k neighbours.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from centre_builders.errors import InputError
from semcentres.evaluation.canvas import GREY, RIGHT, WRONG, save, short

CELL = 1.0  # inches of an image
PITCH_X, PITCH_Y = 1.18, 1.5  # with the gap and the words
HEADING = 0.4
TITLES = {
    "best": "Best queries: right neighbours first, and near",
    "worst": "Worst queries: wrong neighbours first, and near",
    "random": "Queries drawn at random",
}


def draw_gallery(
    images: UInt8[np.ndarray, "N C H W"],
    labels: Int[np.ndarray, " N"],
    ids: Int64[np.ndarray, "N k"],
    cosines: Float[np.ndarray, "N k"],
    names: Sequence[str],
    path: Path,
    *,
    found_images: UInt8[np.ndarray, "M C H W"],
    found_labels: Int[np.ndarray, " M"],
    seed: int = 0,
    columns: int = 8,
    rows: int = 3,
) -> None:
    """Draw the best, the worst and some random queries with their neighbours.

    Args:
        images: the queries, grey or RGB.
        labels: rows of `names`.
        ids: rows of `found_images` near each query, best first.
        cosines: of these neighbours.
        names: of the classes.
        path: of the PNG.
        found_images: what was searched; the queries themselves where each was left out.
        found_labels: rows of `names`.
        seed: of the random queries.
        columns: neighbours shown, at most k.
        rows: queries of each kind, at most N; of the best and worst each of another class if
            there are enough.

    Raises:
        InputError: the images have neither 1 nor 3 channels.
    """
    if images.shape[1] not in (1, 3):
        raise InputError(f"images have {images.shape[1]} channels, wanted 1 (grey) or 3 (RGB)")
    ids, cosines = ids[:, :columns], cosines[:, :columns]
    right = found_labels[ids] == labels[:, None]
    chosen = choose_queries(right, cosines, labels, rows, seed)
    width = PITCH_X * (1 + ids.shape[1]) + 0.3
    height = sum(HEADING + PITCH_Y * len(queries) for queries in chosen.values())
    figure = Figure(figsize=(width, height), dpi=150)
    top = height
    for kind, queries in chosen.items():
        figure.text(0.15 / width, (top - 0.28) / height, TITLES[kind], fontsize=12, weight="bold")
        top -= HEADING
        for query in queries:
            _draw_query(figure, top, images[query], short(names[labels[query]], 14))
            for place, (id_, cosine) in enumerate(zip(ids[query], cosines[query], strict=True)):
                cell = _cell(figure, top, place + 1, found_images[id_])
                _judge(cell, bool(right[query, place]), names[found_labels[id_]], float(cosine))
            top -= PITCH_Y
    save(figure, path)


def choose_queries(
    right: Bool[np.ndarray, "N k"],
    cosines: Float[np.ndarray, "N k"],
    labels: Int[np.ndarray, " N"],
    rows: int,
    seed: int,
) -> dict[str, list[int]]:
    """Return `rows` queries of each kind, by average precision, then by signed cosine.

    The signed cosine is the mean over the neighbours shown, wrong ones counting negative: among
    queries without a right neighbour the surest mistake is the worst.
    """
    precision = (_average_precision(right), np.where(right, cosines, -cosines).mean(axis=1))
    rising = np.lexsort(precision[::-1])
    drawn = np.random.default_rng(seed).choice(len(labels), min(rows, len(labels)), replace=False)
    return {
        "best": _of_different_classes(rising[::-1], labels)[:rows].tolist(),
        "worst": _of_different_classes(rising, labels)[:rows].tolist(),
        "random": drawn.tolist(),
    }


def _average_precision(right: Bool[np.ndarray, "N k"]) -> Float64[np.ndarray, " N"]:
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    average: np.ndarray = (precision * right).mean(axis=1)
    return average


def _of_different_classes(
    order: Int64[np.ndarray, " N"], labels: Int[np.ndarray, " N"]
) -> Int64[np.ndarray, " N"]:
    """Return the same queries, the first of every class before all others."""
    firsts = np.sort(np.unique(labels[order], return_index=True)[1])
    return np.concatenate([order[firsts], np.delete(order, firsts)])


def _draw_query(figure: Figure, top: float, image: UInt8[np.ndarray, "C H W"], name: str) -> None:
    cell = _cell(figure, top, 0, image)
    cell.set_xlabel(f"query\n{name}", fontsize=8, labelpad=3, weight="bold")
    cell.spines[:].set(color=GREY, linewidth=1)


def _cell(figure: Figure, top: float, place: int, image: UInt8[np.ndarray, "C H W"]) -> Axes:
    width, height = figure.get_size_inches()
    left = 0.2 + PITCH_X * place + (0.1 if place else 0)
    cell = figure.add_axes(
        (left / width, (top - CELL - 0.05) / height, CELL / width, CELL / height)
    )
    pixels = image.transpose(1, 2, 0)
    cell.imshow(pixels.squeeze(2) if len(image) == 1 else pixels, cmap="gray", vmin=0, vmax=255)
    cell.set(xticks=[], yticks=[])
    return cell


def _judge(cell: Axes, is_right: bool, name: str, cosine: float) -> None:
    colour, sign = RIGHT if is_right else WRONG
    cell.spines[:].set(color=colour, linewidth=3)
    cell.set_xlabel(f"{sign} {short(name, 14)}\n{cosine:.3f}", fontsize=8, labelpad=3, color=colour)
