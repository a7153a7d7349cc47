"""Tests of the batched views: per-image draws, geometry against torchvision, refusals."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from semcentres import resampling
from semcentres.randomness import Draws, Share, generator
from semcentres.resampling import resample
from semcentres.views import JitterColumns, RandomView, plain

ALL = RandomView(
    crop=0.5, stretch=1.3, rotate=15.0, translate=0.1, flip=0.5,
    brightness=0.4, contrast=0.4, invert=0.2, erase=0.5, noise=0.05,
)  # fmt: skip


def whole(num: int, draw: torch.Generator) -> Draws:
    return Draws(draw, Share(0, num, num))


@pytest.fixture
def images() -> Tensor:
    """B=6, C=3, H=10, W=12; smooth, so that interpolation is comparable."""
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(6, 3, 4, 5, generator=rng)
    large = torch.nn.functional.interpolate(small, (10, 12), mode="bilinear")
    return (255 * large).to(torch.uint8)


def test_equal_generators_give_equal_views(images: Tensor) -> None:
    first, again = (ALL(images, generator(0, 1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, ALL(images, generator(0, 2)))


def test_images_are_left_as_they_were(images: Tensor) -> None:
    """What is done in place is done to the view's own pixels."""
    before = images.clone()
    ALL(images, generator(0))
    RandomView(brightness=0.5, erase=0.5, noise=0.1)(images, generator(0))
    assert torch.equal(images, before)


@pytest.mark.parametrize("size", [None, 7])
def test_pieces_of_a_batch_give_what_the_whole_gives(
    images: Tensor, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six images in pieces of four, in which the last is shorter."""
    view = replace(ALL, size=size, fill=0.3)
    whole = view(images, generator(0))
    monkeypatch.setattr(resampling, "CACHED", 4 * images[0].numel() // torch.get_num_threads())
    assert torch.equal(view(images, generator(0)), whole)


@pytest.mark.parametrize("share", [Share(0, 4, 6), Share(4, 6, 6), Share(2, 2, 6)])
@pytest.mark.parametrize("view", [ALL, replace(ALL, size=7), JitterColumns(columns=[1, 3])])
def test_a_share_of_a_batch_has_its_views_in_the_whole(images: Tensor, view, share: Share) -> None:  # noqa: ANN001
    batch = torch.rand(6, 5) if isinstance(view, JitterColumns) else images
    found = view(batch[share.rows], generator(0), share)
    assert torch.equal(found, view(batch, generator(0))[share.rows])


def test_every_image_has_its_own_draws(images: Tensor) -> None:
    same = images[:1].expand(50, -1, -1, -1)
    views = ALL(same, generator(0))
    assert len({tuple(v.flatten().tolist()) for v in views}) == 50


def test_values_stay_in_range_and_shape(images: Tensor) -> None:
    views = ALL(images, generator(0))
    assert views.shape == images.shape
    assert views.dtype == torch.float32
    assert (views.min(), views.max()) >= (0, 0)
    assert views.max() <= 1


def test_defaults_change_nothing(images: Tensor) -> None:
    assert torch.equal(RandomView()(images, generator(0)), plain(images))


def test_certain_flip_mirrors(images: Tensor) -> None:
    flipped = RandomView(flip=1.0)(images, generator(0))
    torch.testing.assert_close(flipped, plain(images).flip(-1), atol=1e-5, rtol=0)


def test_flip_has_its_probability(images: Tensor) -> None:
    same = images[:1].expand(2000, -1, -1, -1)
    views = RandomView(flip=0.3)(same, generator(0))
    share = ((views - plain(same)).abs().amax(dim=(1, 2, 3)) > 0.01).double().mean().item()
    # Four standard deviations of 2,000 draws.
    assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 2000)


@pytest.mark.parametrize("size", [(15, 15), (15, 25)])
def test_rotation_equals_torchvision(size: tuple[int, int]) -> None:
    """A rotation by a known angle against torchvision's own resampling, square and oblong."""
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(1, 1, 5, 5, generator=rng)
    image = torch.nn.functional.interpolate(small, size, mode="bilinear")
    view = RandomView(rotate=30.0)
    draws = torch.rand(8, 1, generator=generator(3))
    degrees = (2 * draws[2].item() - 1) * 30.0
    wanted = tv.rotate(image, degrees, tv.InterpolationMode.BILINEAR)
    ours = view((255 * image).round().to(torch.uint8), generator(3))
    inner = (..., slice(4, -4), slice(6, -6))
    torch.testing.assert_close(ours[inner], wanted[inner], atol=0.01, rtol=0)


@pytest.mark.parametrize(
    "view",
    [
        RandomView(rotate=40.0),
        RandomView(translate=0.3),
        RandomView(flip=0.5),
        RandomView(crop=0.3),
        RandomView(crop=0.3, rotate=40.0, translate=0.3, flip=0.5),
    ],
)
def test_geometry_equals_torchvision(images: Tensor, view: RandomView) -> None:
    """Rotation, shift and scale are one of torchvision's `affine`, whose edges are ours too.

    Its parameters are read off the view's own matrices, in pixels.
    """
    matrices = view._affine(whole(len(images), generator(3)), 10 / 12)
    views = view(images, generator(3))
    assert len({tuple(m.flatten().tolist()) for m in matrices}) > 1
    for image, matrix, got in zip(images, matrices, views, strict=True):
        torch.testing.assert_close(got, by_torchvision(plain(image), matrix), atol=1e-4, rtol=0)


def by_torchvision(image: Tensor, matrix: Tensor) -> Tensor:
    """Return what torchvision's operators make of an image [C H W] with a view's parameters."""
    half = torch.tensor([image.shape[-1] / 2, image.shape[-2] / 2])
    turn = half.view(2, 1) * matrix[:, :2] / half
    mirrored = turn.det() < 0
    if mirrored:
        turn = turn * torch.tensor([-1.0, 1.0])
    # Ours goes from the view to the image, torchvision's from the image to the view.
    shift = -torch.linalg.solve(turn, half * matrix[:, 2])
    angle = math.degrees(math.atan2(turn[1, 0], turn[0, 0]))
    moved = tv.affine(
        image, -angle, shift.tolist(), 1 / turn.det().sqrt().item(), [0.0, 0.0],
        interpolation=tv.InterpolationMode.BILINEAR,
    )  # fmt: skip
    return tv.hflip(moved) if mirrored else moved


@pytest.mark.parametrize("shape", [(10, 12), (30, 24)])
def test_crop_equals_torchvision(images: Tensor, shape: tuple[int, int]) -> None:
    """A stretched crop against `resized_crop`, which takes whole pixels only, inside the edge.

    At the edge ours blends with what is outside the crop, torchvision's repeats its border.
    """
    matrices = RandomView(crop=0.3, stretch=1.5)._affine(whole(len(images), generator(4)), 10 / 12)
    size = torch.tensor([12.0, 10.0])
    low = ((matrices[:, :, 2] - matrices[:, [0, 1], [0, 1]] + 1) / 2 * size).round()
    high = ((matrices[:, :, 2] + matrices[:, [0, 1], [0, 1]] + 1) / 2 * size).round()
    scale, middle = (high - low) / size, (high + low) / size - 1
    ours = resample(images, torch.cat([torch.diag_embed(scale), middle[:, :, None]], 2), shape)
    for image, (left, top), (right, bottom), got in zip(
        images.float(), low.int().tolist(), high.int().tolist(), ours, strict=True
    ):
        wanted = tv.resized_crop(
            image, top, left, bottom - top, right - left, list(shape), antialias=False
        )
        edge = math.ceil(shape[0] / (bottom - top)), math.ceil(shape[1] / (right - left))
        inner = (..., slice(edge[0], -edge[0]), slice(edge[1], -edge[1]))
        torch.testing.assert_close(got[inner], wanted[inner], atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_shrinking_equals_torchvision(images: Tensor, size: int) -> None:
    views = RandomView(size=size)(images, generator(0)) * 255
    wanted = tv.resize(images, [size, size], antialias=True).float()
    torch.testing.assert_close(views, wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize("crop", [1.0, 0.25])
def test_fine_checkerboard_shrinks_to_grey(crop: float) -> None:
    """Four pixels of the image a pixel of the view: black and white must both be in it."""
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255).to(torch.uint8)
    view = RandomView(crop=crop, stretch=1.2, rotate=20.0, flip=0.5, fill=0.5, size=16)
    views = view(board.expand(40, 1, 64, 64), generator(0))
    assert views.shape == (40, 1, 16, 16)
    torch.testing.assert_close(views, torch.full_like(views, 0.5), atol=0.03, rtol=0)


def test_small_crops_of_a_shrunk_view_keep_what_they_can_show() -> None:
    """A crop of a quarter at half the side needs no shrinking, beside others that do."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 2, 32, 32), generator=rng, dtype=torch.uint8)
    half, whole = torch.eye(3)[:2] / 2, torch.eye(3)[:2]
    together = resample(images, torch.stack([half, whole, half, whole, half]), (16, 16))
    assert torch.equal(together[::2], images[::2, :, 8:24, 8:24].float())
    wanted = tv.resize(images[1::2], [16, 16], antialias=True).float()
    torch.testing.assert_close(together[1::2], wanted, atol=1e-3, rtol=0)


def test_crop_keeps_between_its_share_and_all() -> None:
    """A ramp's range after a crop tells what share of its side was kept."""
    ramp = torch.arange(0, 200).view(1, 1, 1, 200).expand(300, 1, 200, 200).to(torch.uint8)
    views = RandomView(crop=0.25)(ramp, generator(0)) * 255
    kept = (views[:, 0, 100].amax(dim=1) - views[:, 0, 100].amin(dim=1)) / 199
    assert kept.min() >= 0.5 - 0.02
    assert kept.max() <= 1.0
    assert kept.min() < 0.55
    assert kept.max() > 0.95


def test_translation_moves_by_at_most_its_share() -> None:
    dot = torch.zeros(200, 1, 41, 41, dtype=torch.uint8)
    dot[:, :, 20, 20] = 255
    views = RandomView(translate=0.2)(dot, generator(0))
    place = views.flatten(1).argmax(dim=1)
    moved = torch.stack([place // 41 - 20, place % 41 - 20]).abs()
    assert moved.max() <= math.ceil(0.2 * 41)
    assert moved.amax(dim=1).min() >= 7  # down and across


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_outside_has_the_fill(fill: float) -> None:
    """A grey image that is shifted shows grey, the fill, and blends of both at the edge."""
    grey = torch.full((50, 1, 20, 20), 51, dtype=torch.uint8)
    views = RandomView(translate=0.4, fill=fill)(grey, generator(0))
    torch.testing.assert_close(views.amin(), torch.tensor(min(fill, 0.2)), atol=1e-6, rtol=0)
    torch.testing.assert_close(views.amax(), torch.tensor(max(fill, 0.2)), atol=1e-6, rtol=0)
    assert ((views - fill).abs() < 1e-6).float().mean() > 0.1


@pytest.mark.parametrize("invert", [0.0, 0.5])
def test_colours_equal_formula(images: Tensor, invert: float) -> None:
    view = RandomView(brightness=0.6, contrast=0.7, invert=invert)
    views = view(images, generator(5))
    gains, slopes, coins = torch.rand(3, len(images), generator=generator(5)).tolist()
    for image, gain, slope, coin, got in zip(
        plain(images), gains, slopes, coins, views, strict=True
    ):
        wanted = image.mean() + (image - image.mean()) * (1 + (2 * slope - 1) * 0.7)
        wanted = (wanted * (1 + (2 * gain - 1) * 0.6)).clamp(0, 1)
        torch.testing.assert_close(got, 1 - wanted if coin < invert else wanted)
    assert not invert or 0 < sum(c < invert for c in coins) < len(coins)


def test_erase_fills_one_square_with_the_mean() -> None:
    image = torch.zeros(100, 1, 20, 20, dtype=torch.uint8)
    image[:, :, :, 10:] = 255
    views = RandomView(erase=0.5)(image, generator(0))
    holes = (views == 0.5).flatten(1).sum(dim=1)
    assert holes.max() <= 11 * 11
    assert (holes > 0).float().mean() > 0.8


def test_empty_batch_stays_empty() -> None:
    """A training on labels alone has no unlabelled image to view."""
    view = RandomView(crop=0.5, rotate=20.0, brightness=0.5, erase=0.5, noise=0.1)
    nothing = torch.zeros(0, 1, 8, 8, dtype=torch.uint8)
    assert view(nothing, generator(0)).shape == (0, 1, 8, 8)
    assert RandomView(size=5)(nothing, generator(0)).shape == (0, 1, 5, 5)


def test_jitter_redraws_its_columns_only() -> None:
    points = torch.arange(12.0).view(4, 3)
    moved = JitterColumns(columns=(1,))(points, generator(0))
    assert torch.equal(moved[:, [0, 2]], points[:, [0, 2]])
    assert (moved[:, 1] != points[:, 1]).all()


@pytest.mark.parametrize(
    ("option", "value"), [("crop", 0.0), ("crop", 1.5), ("stretch", 0.5), ("size", 0)]
)
def test_refuses_options(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"got {value}"):
        RandomView(**{option: value})
