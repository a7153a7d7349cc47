"""A backbone that moves no further than its input: certificates of its margins are not empty.

Every layer is 1-Lipschitz in l2 by construction, so the backbone is as many times Lipschitz as its
gain. That is not believed but measured: `robustness.certificates` computes each layer's constant
from its weights.

Dimensions: B images, C channels, H by W pixels, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from centre_builders.errors import InputError
from semcentres.encoder import Encoder


class AlmostOrthogonalConv(nn.Module):
    r"""A convolution whose kernel is scaled so that it lengthens nothing.

    With P the convolution as a matrix, the columns are scaled by

        d_i = ( sum_j |P^T P|_ij )^(-1/2)

    and P diag(d) has a spectral norm of at most 1: theorem 1 of Prach & Lampert 2022
    (arXiv:2208.03160), of convolutions their theorem 2. Where there are fewer outputs than inputs
    the rows are scaled in the same way, as a matrix and its transpose have one norm. The layer
    starts as an isometry (or a projection), which the scaling leaves alone.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        size: side of the kernel, odd; the image is padded with zeros to keep its size.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.padding = size // 2
        weight = torch.zeros(outputs, inputs, size, size)
        nn.init.orthogonal_(weight[:, :, self.padding, self.padding])
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def kernel(self) -> Float[Tensor, "outputs inputs size size"]:
        """Return the kernel, scaled."""
        outputs, inputs = self.weight.shape[:2]
        wide = outputs < inputs
        weight = self.weight if wide else self.weight.transpose(0, 1)
        # Rows of P P^T, or of P^T P, at all shifts at which two kernels overlap.
        products = F.conv2d(weight, weight, padding=weight.shape[-1] - 1)
        sums = products.abs().sum(dim=(1, 2, 3)).clamp(min=1e-12)
        return self.weight * sums.rsqrt().view((-1, 1, 1, 1) if wide else (1, -1, 1, 1))

    def forward(self, maps: Float[Tensor, "B inputs H W"]) -> Float[Tensor, "B outputs H W"]:
        """Return the convolution of the maps."""
        with torch.autocast(maps.device.type, enabled=False):
            # In bfloat16 the scaled kernel would be longer than 1 by its rounding.
            kernel = self.kernel()
        return F.conv2d(maps, kernel, self.bias, padding=self.padding)


class MaxMin(nn.Module):
    """Sort channels in pairs; it keeps the length of every gradient.

    GroupSort with groups of two (Anil et al. 2019, arXiv:1811.05381). ReLU, which is 1-Lipschitz
    too, shortens gradients, and layer by layer the margins with them.
    """

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the larger and the smaller of channels i and i + C/2; C is even."""
        first, second = maps.chunk(2, dim=1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=1)


class Gain(nn.Module):
    """Multiply by a number that does not learn."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, inputs: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return the product."""
        return self.gain * inputs


class Sized(nn.Module):
    """Refuse images of another size than the layers after it are made for."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the images.

        Raises:
            InputError: they are no squares of the side that the backbone was built for.
        """
        if images.shape[2:] != (self.size, self.size):
            height, width = images.shape[2:]
            raise InputError(
                f"encoder=lipschitz is made for images of {self.size} x {self.size} pixels, these"
                f" have {height} x {width}; set encoder.size to their side"
            )
        return images


@dataclass(frozen=True)
class LipschitzBackbone:
    """A backbone whose embeddings' lengths are to be learnt too.

    Args:
        module: images [B C H W] to raw embeddings [B D].
    """

    module: nn.Module

    def encoder(self, statistics: tuple[Sequence[float], Sequence[float]]) -> Encoder:
        """Return the encoder; it takes away the data's mean, and divides by nothing.

        A standard deviation below 1 would be one more factor of the Lipschitz constant.
        """
        mean, _ = statistics
        return Encoder(self.module, mean=mean, std=[1.0] * len(mean), margins=True)


def lipschitz_conv(
    *, channels: int, dimension: int, width: int = 32, size: int = 28, gain: float = 1.0
) -> LipschitzBackbone:
    """Return a convolutional backbone that is `gain` times Lipschitz in l2, in pixel values.

    Pixels become channels where other networks stride or pool, which loses nothing.

    Args:
        channels: channels of the images.
        dimension: D.
        width: channels of the first layers; even.
        size: side of the images in pixels, a multiple of 4.
        gain: what raw embeddings are multiplied by. In training only their length above 1 is
            taken away: the less the gain, the further from the bisectors training pulls an image.

    Raises:
        ValueError: a number is out of its range.
    """
    if size < 4 or size % 4:
        raise ValueError(f"size must be a multiple of 4 pixels, got {size}; take data.source.size")
    if width < 2 or width % 2 or gain <= 0:
        raise ValueError(f"width must be even and gain above 0, got {width} and {gain}")
    side = size // 4
    layers = [
        Sized(size),
        nn.PixelUnshuffle(2),
        *_block(4 * channels, width, 3),
        *_block(width, width, 3),
        nn.PixelUnshuffle(2),
        *_block(4 * width, 2 * width, 3),
        *_block(2 * width, width, 3),
        nn.PixelUnshuffle(side),
        *_block(side**2 * width, 4 * width, 1),
        AlmostOrthogonalConv(4 * width, dimension, 1),
        nn.Flatten(),
        Gain(gain),
    ]
    return LipschitzBackbone(nn.Sequential(*layers))


def _block(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    return [AlmostOrthogonalConv(inputs, outputs, size), MaxMin()]
