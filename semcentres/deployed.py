"""What a bundle computes from images, and the file formats that compute it without semcentres.

Dimensions: N images, C channels, H by W pixels, D embedding width, K classes.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semcentres.encoder import Encoder
from semcentres.views import plain

OUTPUTS = ("embeddings", "cosines", "squared_distances")

Answers = Sequence[np.ndarray]  # one array an output
Runner = Callable[[np.ndarray], Answers]


class Layout(StrEnum):
    """The order of an image's axes."""

    NHWC = "nhwc"  # as image readers give them
    NCHW = "nchw"  # as torch takes them


class Deployed(nn.Module):
    """Images as they are read to embeddings, and their cosines and distances to the centres.

    Args:
        encoder: images [N C H W] in [0, 1] to unit embeddings [N D].
        centres: unit rows [K D].
        layout: of the images that are given.
    """

    def __init__(self, encoder: Encoder, centres: Tensor, layout: Layout) -> None:
        super().__init__()
        self.encoder = encoder
        self.centres: Tensor
        self.register_buffer("centres", centres)
        self.layout = layout
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return embeddings [N D], cosines [N K] and squared distances [N K] of uint8 images.

        Plain vectors [N F] are taken as floats.
        """
        if images.ndim == 4 and self.layout == Layout.NHWC:
            images = images.permute(0, 3, 1, 2)
        embeddings = self.encoder(plain(images))
        cosines = embeddings @ self.centres.T
        return embeddings, cosines, (2 - 2 * cosines).clamp(min=0)

    def run(self, images: np.ndarray) -> Answers:
        """Return the outputs as arrays: what every other format is compared with."""
        with torch.inference_mode():
            return [output.numpy() for output in self(torch.from_numpy(images))]


@dataclass(frozen=True)
class Format:
    """A kind of file: its name, its writer from a module and an example, reader, and packages."""

    file: str
    write: Callable[[Deployed, Tensor, Path], None]
    read: Callable[[Path], Runner]
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


def write_onnx(deployed: Deployed, example: Tensor, path: Path) -> None:
    """Write one ONNX file, weights within it, for any number of images."""
    program: Any = torch.onnx.export(
        deployed,
        (example,),
        dynamo=True,
        input_names=["images"],
        output_names=OUTPUTS,
        dynamic_shapes=_any_number(),
        verbose=False,
    )
    program.save(path, external_data=False)


def read_onnx(path: Path) -> Runner:
    """Return an ONNX file as onnxruntime runs it on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: [np.asarray(part) for part in session.run(None, {"images": images})]


def write_pt2(deployed: Deployed, example: Tensor, path: Path) -> None:
    """Write a program of torch.export for any number of images."""
    program = torch.export.export(deployed, (example,), dynamic_shapes=_any_number())
    torch.export.save(program, path)


def read_pt2(path: Path) -> Runner:
    """Return a program of torch.export."""
    return _runner(torch.export.load(path).module())


def write_torchscript(deployed: Deployed, example: Tensor, path: Path) -> None:
    """Write TorchScript, which torch 2.14 deprecates in favour of torch.export."""
    # Also what tracing says of values that it freezes: that is found by comparing two batch sizes.
    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(deployed, example).save(path)


def read_torchscript(path: Path) -> Runner:
    """Return TorchScript as torch runs it."""
    with warnings.catch_warnings(category=FutureWarning, action="ignore"):
        return _runner(torch.jit.load(path))


FORMATS = {
    "onnx": Format("model.onnx", write_onnx, read_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "pt2": Format("model.pt2", write_pt2, read_pt2),
    "torchscript": Format("model.pt", write_torchscript, read_torchscript),
}


def _any_number() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("N")},)


def _runner(module: nn.Module) -> Runner:
    def run(images: np.ndarray) -> Answers:
        with torch.inference_mode():
            return [output.numpy() for output in module(torch.from_numpy(images))]

    return run
