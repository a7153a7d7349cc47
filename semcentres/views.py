"""Random views of a batch of images: one set of draws per image, one set of tensor operations.

torchvision's v2 transforms draw once per call, so that a batch would share its crop and its flip.
Here every image has its own draws, and all geometry is one bilinear resampling of the batch.

Dimensions: B images, C channels, H by W pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor


@runtime_checkable
class View(Protocol):
    """A random view of a batch; equal generators give equal views."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of every image, as floats that the encoder takes."""
        ...


@dataclass(frozen=True, kw_only=True)
class RandomView:
    """A batched random view of uint8 images; the defaults change nothing.

    Args:
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
    """

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
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1], got {self.crop}")
        if self.stretch < 1:
            raise ValueError(f"stretch must be at least 1, got {self.stretch}")

    def __call__(
        self, images: UInt8[Tensor, "B C H W"], generator: torch.Generator
    ) -> Float[Tensor, "B C H W"]:
        """Return one random view of every image, values in [0, 1]."""
        pixels = images.float() / 255
        pixels = self._resample(pixels, generator)
        pixels = self._recolour(pixels, generator)
        return self._spoil(pixels, generator)

    def _resample(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        moves = self.crop < 1 or self.stretch > 1 or self.rotate or self.translate or self.flip
        if not moves or not len(pixels):  # torch's grids refuse an empty batch
            return pixels
        height, width = pixels.shape[-2:]
        matrices = self._affine(len(pixels), height / width, generator)
        grid = F.affine_grid(matrices, list(pixels.shape), align_corners=False)
        # torch fills with 0 alone; so the fill is made 0, and back again.
        moved = F.grid_sample(pixels - self.fill, grid, align_corners=False)
        return moved + self.fill

    def _affine(
        self, num: int, aspect: float, generator: torch.Generator
    ) -> Float[Tensor, "B 2 3"]:
        """Draw the map from each view's coordinates in [-1, 1] to its image's."""
        area, ratio, angle, left, top, x, y, coin = _uniform(8, num, generator)
        side = (self.crop + (1 - self.crop) * area).sqrt()
        half = torch.exp((2 * ratio - 1) * math.log(self.stretch) / 2)
        width, height = (side * half).clamp(max=1.0), (side / half).clamp(max=1.0)
        angle = (2 * angle - 1) * math.radians(self.rotate)
        mirror = torch.where(coin < self.flip, -1.0, 1.0)
        cos, sin = angle.cos(), angle.sin()
        # The crop stays within the image; translation then moves it, and what is outside is 0.
        shift_x = (2 * left - 1) * (1 - width) + (2 * x - 1) * 2 * self.translate
        shift_y = (2 * top - 1) * (1 - height) + (2 * y - 1) * 2 * self.translate
        # Turning is done in pixels, and a unit of y is `aspect` units of x.
        across = (cos * width * mirror, -sin * height * aspect, shift_x)
        down = (sin * width * mirror / aspect, cos * height, shift_y)
        return torch.stack([*across, *down], dim=1).view(num, 2, 3)

    def _recolour(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        if not (self.brightness or self.contrast or self.invert):
            return pixels
        gain, slope, coin = _uniform(3, len(pixels), generator).view(3, -1, 1, 1, 1)
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        pixels = mean + (pixels - mean) * (1 + (2 * slope - 1) * self.contrast)
        pixels = (pixels * (1 + (2 * gain - 1) * self.brightness)).clamp(0, 1)
        return torch.where(coin < self.invert, 1 - pixels, pixels) if self.invert else pixels

    def _spoil(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        if self.erase:
            hole = _squares(pixels, self.erase, generator)
            pixels = torch.where(hole, pixels.mean(dim=(1, 2, 3), keepdim=True), pixels)
        if self.noise:
            grain = torch.randn(pixels.shape, generator=generator, device=pixels.device)
            pixels = (pixels + self.noise * grain).clamp(0, 1)
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
        self, images: Float[Tensor, "B D"], generator: torch.Generator
    ) -> Float[Tensor, "B D"]:
        """Return the vectors with the nuisance columns drawn anew."""
        moved = images.clone()
        shape = (len(images), len(self.columns))
        draws = torch.randn(shape, generator=generator, device=images.device)
        moved[:, list(self.columns)] = self.scale * draws
        return moved


def plain(images: Tensor) -> Tensor:
    """Return the images as the encoder takes them when nothing is random."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _uniform(rows: int, num: int, generator: torch.Generator) -> Float[Tensor, "rows num"]:
    draws: Tensor = torch.rand(rows, num, generator=generator, device=generator.device)
    return draws


def _squares(pixels: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Return a mask [B 1 H W] that is true inside one random square of each image."""
    side, x, y = _uniform(3, len(pixels), generator).view(3, -1, 1, 1, 1)
    height, width = pixels.shape[-2:]
    rows = torch.arange(height, device=pixels.device).view(1, 1, -1, 1) / height
    columns = torch.arange(width, device=pixels.device).view(1, 1, 1, -1) / width
    half = side * largest / 2
    hole: Tensor = ((rows - y).abs() < half) & ((columns - x).abs() < half)
    return hole
