"""Each image of a batch seen through an affine map of its own, antialiased where it shrinks.

Dimensions: B images, C channels, H by W pixels, h by w of a view.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

# Values of a piece of a batch, for each thread: 1 MiB of floats. Whole batches of large images
# would be brought from memory, page by page, at every operation: twice as slow.
CACHED = 2**18


def resample(
    images: UInt8[Tensor, "B C H W"] | Float[Tensor, "B C H W"],
    matrices: Float[Tensor, "B 2 3"],
    shape: tuple[int, int],
    *,
    fill: float = 0.0,
) -> Float[Tensor, "B C h w"]:
    """Return each image seen through its own affine map, bilinear, in the images' units.

    Where a view has fewer pixels than what it shows, its image is first shrunk with the filter of
    Pillow and torchvision: to `shape` where the whole image is shown, and to more where less is.
    Sizes go in steps of half an octave, so that a view's pixel is 0.84 to 1.19 pixels of what is
    sampled, and a batch falls into a few groups.

    Args:
        images: bytes; a CPU shrinks them as such, which rounds each pixel by at most 1. Or floats
            of the same range.
        matrices: from coordinates of the view in [-1, 1] to the image's, as in `F.affine_grid`
            with `align_corners=False`.
        shape: h, w of the result.
        fill: value outside the image.
    """
    if shape[0] >= images.shape[2] and shape[1] >= images.shape[3]:
        return _bilinear(images, matrices, shape, fill)
    share = torch.linalg.det(matrices[..., :2]).abs()
    steps = (-share.log2()).round().clamp(min=0)
    views = images.new_empty((*images.shape[:2], *shape), dtype=torch.float32)
    for step in steps.unique().tolist():
        rows = (steps == step).nonzero().squeeze(1)
        small = _shrink(images[rows], [round(side * 2 ** (step / 2)) for side in shape])
        views[rows] = _bilinear(small, matrices[rows], shape, fill)
    return views


def _grid(matrices: Float[Tensor, "B 2 3"], shape: tuple[int, int]) -> Float[Tensor, "B h w 2"]:
    """Return `F.affine_grid(..., align_corners=False)` to the last place, 20 times faster.

    Coordinates are planes here, made by sums that are broadcast, not by products of matrices.
    """
    y, x = (
        torch.linspace(-1, 1, side, device=matrices.device) * ((side - 1) / side) for side in shape
    )
    of_x, of_y, shift = matrices.view(-1, 2, 3, 1, 1).unbind(2)
    return (of_x * x + (of_y * y.view(-1, 1) + shift)).permute(0, 2, 3, 1)


def _bilinear(images: Tensor, matrices: Tensor, shape: tuple[int, int], fill: float) -> Tensor:
    """Return the views, sampled in pieces of the batch whose floats stay in a CPU's cache."""
    largest = images.shape[1] * max(shape[0] * shape[1], images.shape[2] * images.shape[3])
    piece = max(1, CACHED * torch.get_num_threads() // largest)
    if images.device.type != "cpu" or piece >= len(images):
        return _sample(images, _grid(matrices, shape), fill)
    views = images.new_empty((*images.shape[:2], *shape), dtype=torch.float32)
    for start in range(0, len(images), piece):
        rows = slice(start, start + piece)
        views[rows] = _sample(images[rows], _grid(matrices[rows], shape), fill)
    return views


def _sample(images: Tensor, grid: Tensor, fill: float) -> Tensor:
    pixels = images.to(torch.float32, copy=True)
    if not fill:
        return F.grid_sample(pixels, grid, align_corners=False)
    # torch fills with 0 alone; so the fill is made 0, and back again.
    return F.grid_sample(pixels.sub_(fill), grid, align_corners=False).add_(fill)


def _shrink(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the images with at most so many pixels a side, averaged over what a pixel covers."""
    target = [min(wanted, had) for wanted, had in zip(shape, images.shape[-2:], strict=True)]
    if target == list(images.shape[-2:]):
        return images
    # Only the CPU has this filter for bytes.
    pixels = images if images.device.type == "cpu" else images.float()
    return F.interpolate(pixels, target, mode="bilinear", antialias=True)
