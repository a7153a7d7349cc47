"""Tests of images that stay in files: order, values against Pillow, bad files, threads that end."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.data.image_file import load_image
from semcentres.data.stored import StoredImages, decode


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """23 JPEGs of different odd shapes, largest first, so that later ones are ready first."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    found = []
    for i in range(23):
        small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        path = folder / f"{i}.jpg"
        small.resize((40 + 600 // (i + 1), 50 + 400 // (i + 1)), Image.Resampling.BICUBIC).save(
            path, quality=95
        )
        found.append(path)
    return found


def by_pillow(path: Path, size: int) -> Tensor:
    with Image.open(path) as image:
        fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    return torch.tensor(np.asarray(fitted)).permute(2, 0, 1).float()


def threads() -> int:
    return sum("(worker)" in thread.name for thread in threading.enumerate())


def threads_end() -> bool:
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not threads()


@pytest.mark.parametrize("size", [12, 33, 64])
def test_equals_pillow(paths: list[Path], size: int) -> None:
    """To 10 of 255 grey levels, on noise: the decoder's own reduction has another filter."""
    images = next(StoredImages(paths, size).batches([torch.arange(len(paths))])).float()
    wanted = torch.stack([by_pillow(path, size) for path in paths])
    assert (images - wanted).abs().mean() < 1.5
    torch.testing.assert_close(images, wanted, atol=10, rtol=0)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_order_is_that_of_the_rows(paths: list[Path], ahead: int) -> None:
    rows = [
        torch.tensor(r, dtype=torch.int64)
        for r in ([3, 0, 22, 3], [], [7], list(range(20)), [1, 2])
    ]
    got = list(StoredImages(paths, 9, workers=3, ahead=ahead).batches(rows))
    assert [len(images) for images in got] == [len(r) for r in rows]
    for images, wanted in zip(torch.cat(got), torch.cat(rows).tolist(), strict=True):
        assert torch.equal(images, decode(paths[wanted], 9))
    assert threads_end()


def test_reads_no_further_ahead_than_asked(paths: list[Path]) -> None:
    asked = []

    def rows() -> Iterator[Tensor]:
        for i in range(10):
            asked.append(i)
            yield torch.tensor([i])

    batches = StoredImages(paths, 5, ahead=3).batches(rows())
    next(batches)
    assert asked == [0, 1, 2, 3]
    next(batches)
    assert asked == [0, 1, 2, 3, 4]
    assert threads()
    batches.close()
    assert threads_end()


def test_unreadable_file_is_named_once_after_the_batches_before_it(
    paths: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(paths[0].read_bytes()[:500])
    stored = StoredImages([*paths, bad, bad], 5, ahead=4)
    batches = stored.batches(torch.tensor([[0, 1], [2, 3], [23, 24], [4, 5], [24, 23]]))
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(InputError) as caught:
        next(batches)
    assert str(caught.value).count("broken.jpg") == 1
    assert threads_end()
    with pytest.raises(StopIteration):
        next(batches)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jpg"):
        decode(tmp_path / "none.jpg", 5)


def test_photograph_is_turned_upright(paths: list[Path], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    turned = tmp_path / "turned.jpg"
    with Image.open(paths[0]) as image:
        image.save(turned, exif=exif, quality=95)
    upright = by_pillow(paths[0], 9).rot90(-1, (1, 2))
    torch.testing.assert_close(decode(turned, 9).float(), upright, atol=8, rtol=0)


@pytest.mark.parametrize("name", ["clear.png", "png_in_truth.jpg"])
def test_other_formats_are_read_as_a_folder_of_images_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")
    assert torch.equal(decode(path, 6), torch.tensor(load_image(path, 6)))


@pytest.mark.parametrize(("option", "value"), [("size", 0), ("workers", 0), ("ahead", -1)])
def test_refuses_options(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{option} must .* got {value}"):
        StoredImages([], **{"size": 5} | {option: value})
