r"""Radii within which no change of the input changes its class, from a Lipschitz constant.

Let f be the backbone with all that stands before it, L its Lipschitz constant in l2, z = f(x) its
embedding before it is scaled to length 1, and c_i the nearest centre. The class stays for every
change of l2 norm below

    r(x) = min over j of  z.(c_i - c_j) / ( L |c_i - c_j| )

because the fraction without L is the distance of z to the plane between c_i and c_j, and z moves
by L |change| at most. Scaling z to length 1 would bring 1/|z| into L and does not change the class,
as centres have length 1. With orthonormal centres |c_i - c_j| = sqrt 2, and r is the margin over
sqrt(2) L of Tsuzuku et al. 2018 (arXiv:1802.04034).

The bound (c_i - c_max) / G of seed note 001, with the gradient at the image for G, is none: the
gradient elsewhere may be larger, and another class may be nearer than the runner-up. It is here
as an estimate, under that name.

Dimensions: N inputs, C channels, K classes, D embedding width.
"""

import math
from copy import deepcopy

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from semcentres.encoder import Encoder, MeanOverPixels
from semcentres.lipschitz import AlmostOrthogonalConv, Gain, MaxMin, Sized
from semcentres.robustness.attacks import Scores, gap

# Share of |z| that the margin must exceed: certificates are of exact arithmetic, and a model in
# float32 is off by some rounding.
ROUNDING = 1e-5
# Layers that lengthen no difference, in evaluation mode.
LEVEL = (
    nn.ReLU, nn.Identity, nn.Dropout, nn.Flatten, nn.PixelUnshuffle, MaxMin, Sized,
)  # fmt: skip
BLOCK = 256  # inputs at a time


def lipschitz_radii(
    encoder: Encoder, inputs: Float[Tensor, "N C *HW"], centres: Float[Tensor, "K D"]
) -> tuple[float, Float64[Tensor, " N"]]:
    """Return the Lipschitz constant L and the certified l2 radius of each input.

    Everything is computed in float64, on a copy of the encoder.

    Args:
        encoder: as it is in evaluation mode.
        inputs: as the encoder takes them: images in [0, 1].
        centres: unit rows, two at least.

    Returns:
        L, infinite where a layer is not known; radii in the units of the inputs, at least 0.
    """
    # With the mean and standard deviation: Encoder keeps them in buffers.
    exact = deepcopy(encoder).double().eval()
    bound = lipschitz_constant(exact, inputs[:1].double())
    wide = centres.double()
    radii = []
    for part in inputs.split(BLOCK):
        with torch.inference_mode():
            rows = exact.raw(part.double())
        near = (rows @ wide.T).argmax(dim=1)
        apart = wide[near][:, None] - wide
        lengths = apart.norm(dim=-1).scatter(1, near[:, None], 1.0)
        reach = torch.einsum("nd,nkd->nk", rows, apart) - ROUNDING * rows.norm(dim=1)[:, None]
        planes = (reach / lengths).scatter(1, near[:, None], math.inf)
        radii.append((planes.amin(dim=1) / bound).clamp(min=0))
    return bound, torch.cat(radii)


def lipschitz_constant(encoder: Encoder, inputs: Float64[Tensor, "N C *HW"]) -> float:
    """Return a bound of |f(x) - f(y)| / |x - y| in l2, f being `encoder.raw`.

    The product of the layers' own constants: spectral norms of their weights, 1/std of the
    normalisation. For a network that was not built for it, it is a true bound of no use: a
    thousand times what any two images show is usual.

    Args:
        encoder: in float64 and in evaluation mode.
        inputs: one at least, which tells the sizes of the maps.

    Returns:
        Infinity where the encoder resizes its images, or has a layer that is not known here.
    """
    if encoder.size is not None:
        return math.inf
    # Grey images stand for each of the channels that the backbone takes.
    copies = len(encoder.mean) / inputs.shape[1]
    before = math.sqrt(copies) / float(encoder.std.min())
    with torch.inference_mode():
        return before * _constant(encoder.backbone, _normalised(encoder, inputs[:1]))[0]


def _normalised(encoder: Encoder, inputs: Tensor) -> Tensor:
    shape = (-1, *[1] * (inputs.ndim - 2))
    return (inputs - encoder.mean.view(shape)) / encoder.std.view(shape)


def _constant(layer: nn.Module, given: Tensor) -> tuple[float, Tensor]:
    """Return a layer's Lipschitz constant for inputs of this shape, and what it makes of them."""
    if isinstance(layer, nn.Sequential):
        bound = 1.0
        for part in layer:
            own, given = _constant(part, given)
            bound *= own
        return bound, given
    return _own_constant(layer, given), layer(given)


def _own_constant(layer: nn.Module, given: Tensor) -> float:
    if isinstance(layer, LEVEL):
        return 1.0
    if isinstance(layer, Gain):
        return abs(layer.gain)
    if isinstance(layer, MeanOverPixels):
        # The mean of n numbers is shorter than they are by the root of n at least.
        return 1 / math.sqrt(given[0, 0].numel())
    if isinstance(layer, nn.Linear):
        return float(torch.linalg.matrix_norm(layer.weight, ord=2))
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_var is not None:
        scale = (layer.running_var + layer.eps).rsqrt()
        return float((scale if layer.weight is None else scale * layer.weight).abs().max())
    if isinstance(layer, AlmostOrthogonalConv):
        return convolution_norm(layer.kernel(), given.shape[2:], (layer.padding, layer.padding))
    if isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str) and _plain(layer):
        # A stride leaves pixels out, which lengthens nothing.
        return convolution_norm(layer.weight, given.shape[2:], layer.padding)
    return math.inf


def _plain(layer: nn.Conv2d) -> bool:
    return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"


@torch.no_grad()
def convolution_norm(
    kernel: Float64[Tensor, "outputs inputs h w"],
    size: tuple[int, ...],
    padding: tuple[int, ...],
) -> float:
    """Return a bound of the spectral norm of a convolution of zero-padded maps.

    The padded map is laid on a torus, where the convolution is a product for each frequency
    (Sedghi et al. 2019, arXiv:1805.10408); what wraps around is no part of the result, so that
    the norm on the torus is not exceeded.

    Args:
        kernel: in float64.
        size: height and width of the maps that come in.
        padding: zeros at each side.
    """
    torus = [side + 2 * pad for side, pad in zip(size, padding, strict=True)]
    if torus[0] < kernel.shape[2] or torus[1] < kernel.shape[3]:
        return math.inf
    frequencies = torch.fft.rfft2(kernel, s=torus).permute(2, 3, 0, 1)
    return float(torch.linalg.matrix_norm(frequencies, ord=2).max())


def first_order_margins(scores: Scores, inputs: Float[Tensor, "N C *HW"]) -> Float[Tensor, " N"]:
    """Return a first-order estimate of each input's distance to another class; not a guarantee.

        (s_i - s_max) / |gradient of (s_i - s_max)|

    s_i being the largest score and s_max the next. This is what seed note 001 calls a bound. It is
    the distance if the scores were linear, and attacks succeed within it.

    Args:
        scores: inputs to the scores of the classes, two at least.
        inputs: as the encoder takes them.

    Returns:
        l2 distances in the units of the inputs.
    """
    margins = []
    for part in inputs.split(BLOCK):
        moved = part.detach().requires_grad_()
        found = scores(moved)
        gaps = gap(found, found.argmax(dim=1))
        (slope,) = torch.autograd.grad(gaps.sum(), moved)
        margins.append(gaps.detach() / slope.flatten(1).norm(dim=1).clamp(min=1e-12))
    return torch.cat(margins)
