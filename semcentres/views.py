"""Random views of a batch of images: one set of draws per image, one set of tensor operations.

torchvision's v2 transforms draw once per call, so that a batch would share its crop and its flip.
Here every image has its own draws, and all geometry is one bilinear resampling of the batch.

What follows the resampling works in place, and all that is linear in the pixels is folded into
one product and one sum: a pass over the pixels costs more than its arithmetic.

Dimensions: B images, C channels, H by W pixels, h by w pixels of the views.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from semcentres.randomness import Draws, Share
from semcentres.resampling import resample


@runtime_checkable
class View(Protocol):
    """A random view of a batch; equal generators give equal views."""

    def __call__(
        self, images: Tensor, generator: torch.Generator, share: Share | None = None
    ) -> Tensor:
        """Return one view of every image, as floats that the encoder takes.

        Where several processes train together, `share` says which of the batch's images these
        are, and each must get the view that it would get among all.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class RandomView:
    """A batched random view of uint8 images; the defaults change nothing.

    Args:
        size: side of the square view in pixels, at least 1; None keeps the images' own shape.
            Where it is less than the images', they are averaged before they are sampled, so that
            no pixel is skipped.
        crop: smallest share of the area that a random crop keeps, in (0, 1]; the crop is
            stretched back to the full size (Inception's random resized crop).
        stretch: largest ratio of the crop's sides, at least 1.
        rotate: largest rotation, in degrees.
        translate: largest shift, as a share of the side.
        fill: value of what comes in from outside the image, in [0, 1]; 0 is black, 1 is white.
        flip: probability of a mirrored image.
        brightness: largest change of brightness, as a share of the value.
        contrast: largest change of contrast about the image's mean.
        invert: probability of a negative.
        erase: largest side of the erased square, as a share of the side (Cutout,
            arXiv:1708.04552); the square is filled with the image's mean.
        noise: standard deviation of added Gaussian noise, in units of the value range.

    Raises:
        ValueError: `size`, `crop` or `stretch` is out of its range.
    """

    size: int | None = None
    crop: float = 1.0
    stretch: float = 1.0
    rotate: float = 0.0
    translate: float = 0.0
    fill: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    invert: float = 0.0
    erase: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Refuse ranges that no image can have."""
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1], got {self.crop}")
        if self.stretch < 1:
            raise ValueError(f"stretch must be at least 1, got {self.stretch}")

    def __call__(
        self,
        images: UInt8[Tensor, "B C H W"],
        generator: torch.Generator,
        share: Share | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """Return one random view of every image, values in [0, 1]."""
        draws = _draws(images, generator, share)
        return self._spoil(self._recolour(self._resample(images, draws), draws), draws)

    def alike(
        self,
        images: UInt8[Tensor, "B C H W"] | Float[Tensor, "B C H W"],
        generator: torch.Generator,
    ) -> Float[Tensor, "B C H W"]:
        """Return one view that is the same for all images: its geometry alone, in their own shape.

        So what is said of an image depends neither on its batch nor on its place in it. Images may
        be floats in [0, 255], and gradients reach them.
        """
        height, width = images.shape[-2:]
        matrices = self._affine(Draws(generator, Share(0, 1, 1)), height / width)
        matrices = matrices.repeat(len(images), 1, 1)
        moved = resample(images, matrices, (height, width), fill=255 * self.fill)
        return moved.div_(255)

    def _resample(self, images: Tensor, draws: Draws) -> Tensor:
        """Return the views' pixels as new floats in [0, 255]."""
        height, width = images.shape[-2:]
        shape = (height, width) if self.size is None else (self.size, self.size)
        moves = self.crop < 1 or self.stretch > 1 or self.rotate or self.translate or self.flip
        if not moves and shape == (height, width):
            return images.to(torch.float32, copy=True)
        matrices = self._affine(draws, height / width)
        return resample(images, matrices, shape, fill=255 * self.fill)

    def _affine(self, draws: Draws, aspect: float) -> Float[Tensor, "B 2 3"]:
        """Draw the map from each view's coordinates in [-1, 1] to its image's."""
        drawn = draws.uniform(8)
        area, coin = drawn[0], drawn[7]
        ratio, angle, left, top, x, y = (2 * drawn[1:7] - 1).unbind()
        side = (self.crop + (1 - self.crop) * area).sqrt()
        half = torch.exp(ratio * math.log(self.stretch) / 2)
        width, height = (side * half).clamp(max=1.0), (side / half).clamp(max=1.0)
        angle = angle * math.radians(self.rotate)
        mirror = torch.where(coin < self.flip, -1.0, 1.0)
        cos, sin = angle.cos(), angle.sin()
        # The crop stays within the image; translation then moves it, and what is outside is fill.
        shift_x = left * (1 - width) + x * 2 * self.translate
        shift_y = top * (1 - height) + y * 2 * self.translate
        # Turning is done in pixels, and a unit of y is `aspect` units of x.
        across = (cos * width * mirror, -sin * height * aspect, shift_x)
        down = (sin * width * mirror / aspect, cos * height, shift_y)
        return torch.stack([*across, *down], dim=1).view(-1, 2, 3)

    def _recolour(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Bring pixels from [0, 255] to [0, 1], in place, with the colours of the view."""
        if not (self.brightness or self.contrast or self.invert):
            return pixels.div_(255)
        gain, slope, coin = draws.uniform(3).view(3, -1, 1, 1, 1)
        gain = 1 + (2 * gain - 1) * self.brightness
        slope = 1 + (2 * slope - 1) * self.contrast
        sign = torch.where(coin < self.invert, -1.0, 1.0)
        # gain * (mean + slope * (pixel - mean)), and 1 less that for a negative.
        scale = sign * gain * slope / 255
        shift = sign * gain * (1 - slope) / 255 * pixels.mean(dim=(1, 2, 3), keepdim=True)
        return pixels.mul_(scale).add_(shift + (1 - sign) / 2).clamp_(0, 1)

    def _spoil(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Erase and add noise, in place."""
        if self.erase:
            hole = _squares(pixels, self.erase, draws)
            # Not torch.where, which is ten times slower with a value an image.
            pixels = pixels.lerp_(pixels.mean(dim=(1, 2, 3), keepdim=True), hole)
        if self.noise:
            grain = draws.normal(*pixels.shape[1:])
            pixels = grain.mul_(self.noise).add_(pixels).clamp_(0, 1)
        return pixels


@dataclass(frozen=True, kw_only=True)
class JitterColumns:
    """A view of plain vectors that redraws some columns and keeps the rest (seed note 000).

    Args:
        columns: which columns are nuisance.
        scale: standard deviation of their new normal values.
    """

    columns: Sequence[int]
    scale: float = 1.0

    def __call__(
        self,
        images: Float[Tensor, "B D"],
        generator: torch.Generator,
        share: Share | None = None,
    ) -> Float[Tensor, "B D"]:
        """Return the vectors with the nuisance columns drawn anew."""
        moved = images.clone()
        drawn = _draws(images, generator, share).normal(len(self.columns))
        moved[:, list(self.columns)] = self.scale * drawn
        return moved


def plain(images: Tensor) -> Tensor:
    """Return the images as the encoder takes them when nothing is random."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _draws(images: Tensor, generator: torch.Generator, share: Share | None) -> Draws:
    whole = Share(0, len(images), len(images))
    return Draws(generator, whole if share is None else share)


def _squares(pixels: Tensor, largest: float, draws: Draws) -> Tensor:
    """Return a mask [B 1 H W] that is 1 inside one random square of each image, else 0."""
    side, x, y = draws.uniform(3).view(3, -1, 1, 1, 1)
    height, width = pixels.shape[-2:]
    rows = torch.arange(height, device=pixels.device).view(1, 1, -1, 1) / height
    columns = torch.arange(width, device=pixels.device).view(1, 1, 1, -1) / width
    half = side * largest / 2
    # A product of floats: "and" of booleans that are broadcast is slower.
    hole: Tensor = ((rows - y).abs() < half).float() * ((columns - x).abs() < half).float()
    return hole
