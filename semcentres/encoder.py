"""Encoders: a backbone with a linear projection, and the sphere that they end on.

Dimensions: B images, C channels, H by W pixels, D embedding width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# What may stand between the linear layers of a head.
BETWEEN = (nn.BatchNorm1d, nn.ReLU, nn.GELU, nn.Hardswish, nn.Dropout, nn.Identity)


class Encoder(nn.Module):
    """Map inputs to unit embeddings: resize, normalise, backbone, scale to length 1.

    The normalisation travels with the weights, so that whoever loads them need not know it.

    Args:
        backbone: inputs [B C H W] (or [B F] for vectors) to raw embeddings [B D].
        mean: mean of each channel, in the units of the input ([0, 1] for images). Three of them
            make three channels of the one of grey images.
        std: standard deviation of each channel.
        size: side in pixels that images are resized to first; None leaves them.
        trained_at: side of the images that the backbone's weights were trained on, for those who
            give it others; None where they are new.
        margins: whether in training the raw embeddings' lengths below 1 are kept, so that
            objectives see them; for backbones whose lengths mean something (`lipschitz`).
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        size: int | None = None,
        trained_at: int | None = None,
        margins: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.size = size
        self.trained_at = trained_at
        self.margins = margins
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, inputs: Float[Tensor, "B C *HW"]) -> Float[Tensor, "B D"]:
        """Return unit embeddings, in float32 under any autocast."""
        raw = self.raw(inputs).float()
        if self.margins and self.training:
            # The nearest point of the ball, and no point is moved nearer to it than to another:
            # what an objective sees is as Lipschitz as the backbone. Unit length would not be.
            within: Tensor = raw / raw.norm(dim=-1, keepdim=True).clamp(min=1)
            return within
        return F.normalize(raw, dim=-1)

    def raw(self, inputs: Float[Tensor, "B C *HW"]) -> Float[Tensor, "B D"]:
        """Return the backbone's embeddings before they are scaled to length 1."""
        if self.size is not None:
            side = (self.size, self.size)
            # In float32: torch cannot resize bfloat16, which mixed precision may hand in.
            inputs = F.interpolate(inputs.float(), side, mode="bilinear", antialias=True)
        shape = (-1, *[1] * (inputs.ndim - 2))
        embeddings: Tensor = self.backbone((inputs - self.mean.view(shape)) / self.std.view(shape))
        return embeddings


class WithFeatures(nn.Module):
    """An encoder whose embeddings have its features behind them: inputs to [B D+F].

    The features are what the first layer of the head is given, the head being the linear layers
    that the backbone ends with and what stands between them. Self-supervised methods are commonly
    judged there (Chen et al. 2020, arXiv:2002.05709, section 4.2).

    Raises:
        ValueError: the backbone does not end with a linear layer.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        head = first_of_head(encoder)
        if head is None:
            raise ValueError("the backbone does not end with a linear layer")
        self.head = head

    def forward(self, inputs: Float[Tensor, "B C *HW"]) -> Float[Tensor, "B DF"]:
        """Return embeddings and features side by side, in float32 under any autocast."""
        given: list[Tensor] = []
        with self.head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0])):
            embeddings = self.encoder(inputs)
        return torch.cat([embeddings, given[0].float()], dim=1)


def first_of_head(encoder: nn.Module) -> nn.Linear | None:
    """Return the first linear layer of the run of layers of vectors that an encoder ends with.

    None where it does not end with one.
    """
    first = None
    for module in reversed([m for m in encoder.modules() if not list(m.children())]):
        if isinstance(module, nn.Linear):
            first = module
        elif not isinstance(module, BETWEEN):
            break
    return first


class MeanOverPixels(nn.Module):
    """Average a map over its pixels.

    By a matrix product: in bfloat16 on a CPU, adaptive pooling takes five times as long.
    """

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C"]:
        """Return the mean of each channel."""
        pixels = maps.permute(0, 2, 3, 1).flatten(1, 2)
        num = pixels.shape[1]
        return (pixels.new_ones(1, num) @ pixels).squeeze(1) / num


def last_linear(encoder: nn.Module) -> nn.Linear:
    """Return the last linear layer.

    Raises:
        ValueError: there is none.
    """
    linears = [module for module in encoder.modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError("the backbone has no linear layer at its end")
    return linears[-1]


def keep_features(encoder: Encoder) -> None:
    """Let the last linear layer alone learn; running statistics stay as they are too.

    Raises:
        ValueError: the backbone has no linear layer.
    """
    last = last_linear(encoder)
    encoder.requires_grad_(requires_grad=False).eval()
    last.requires_grad_(requires_grad=True)


def small_conv(
    *, channels: int, dimension: int, width: int = 32, hidden: int | None = None
) -> nn.Sequential:
    """Return a three-layer convolutional backbone; width 32 has about 100,000 parameters.

    Two strided layers take 28 pixels to 7, which is what makes it fast on a CPU; any size of
    at least 8 pixels works, since the last map is averaged.

    Args:
        channels: channels of the images.
        dimension: D.
        width: channels of the first layer; the others have 2 and 4 times as many.
        hidden: width of a hidden layer before the last; None has none. Centres of many classes
            whose angles are given need it more than centres with an axis a class, which the last
            layer can turn as it likes.
    """
    widths = (width, 2 * width, 4 * width)
    return nn.Sequential(
        *_block(channels, widths[0], kernel=5, stride=2),
        *_block(widths[0], widths[1], kernel=3, stride=2),
        *_block(widths[1], widths[2], kernel=3, stride=1),
        MeanOverPixels(),
        *_head(widths[2], hidden, dimension),
    )


def linear(*, channels: int, dimension: int) -> nn.Linear:
    """Return the linear map without bias that the toy of seed note 000 learns."""
    return nn.Linear(channels, dimension, bias=False)


def _head(inputs: int, hidden: int | None, outputs: int) -> list[nn.Module]:
    if hidden is None:
        return [nn.Linear(inputs, outputs)]
    inner = [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
    return [*inner, nn.Linear(hidden, outputs)]


def _block(inputs: int, outputs: int, *, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
