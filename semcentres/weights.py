"""How an encoder is built, and how it is stored with all that is needed to build it again.

Dimensions: N images, C channels, H by W pixels.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from centre_builders.bank import CentreBank
from centre_builders.errors import InputError
from centre_builders.sealed import save_sealed
from semcentres.backbones import LibraryModel
from semcentres.components import build
from semcentres.encoder import Encoder
from semcentres.lipschitz import LipschitzBackbone
from semcentres.prediction import Calibration

WEIGHTS = "model.safetensors"
CENTRES = "centres.safetensors"


def make_encoder(
    component: Mapping[str, Any],
    *,
    channels: int,
    bank: CentreBank,
    statistics: tuple[list[float], list[float]] | None = None,
) -> Encoder:
    """Return a fresh encoder as wide as the bank.

    Args:
        component: of the backbone.
        channels: of the images.
        bank: gives the width.
        statistics: mean and standard deviation of each channel; None where weights that hold
            them are loaded next, and then nothing else is read or fetched.

    Raises:
        InputError: the backbone's own weights cannot be read or fetched.
    """
    if statistics is None and "weights" in component:
        component = {**component, "weights": None}
    backbone = build(component, "encoder")(channels=channels, dimension=bank.dimension)
    mean, std = statistics or ([0.0] * channels, [1.0] * channels)
    if isinstance(backbone, LibraryModel | LipschitzBackbone):
        return backbone.encoder((mean, std))
    return Encoder(backbone, mean=mean, std=std)


def restore_encoder(
    about: Mapping[str, Any], tensors: Mapping[str, np.ndarray], bank: CentreBank
) -> Encoder:
    """Return the encoder that was saved.

    Args:
        about: `encoder`, the component of the backbone, and `channels` of the images.
        tensors: all that it holds, by name.
        bank: gives the width.

    Raises:
        InputError: the component makes another encoder than the tensors are of, or one of these is
            not finite.
    """
    component, given = about["encoder"], {name: array.shape for name, array in tensors.items()}
    wrong = sorted(name for name, array in tensors.items() if not np.isfinite(array).all())
    if wrong:
        raise InputError(f"its tensor {wrong[0]!r} holds a number that is not finite")
    make = partial(make_encoder, component, channels=about["channels"], bank=bank)
    # Without memory first: a stranger's few bytes may ask for terabytes of layers.
    with torch.device("meta"), suppress(RuntimeError):  # of timm, some compute while they are made
        _compare_shapes(component, make(), given)
    encoder = make()
    _compare_shapes(component, encoder, given)
    encoder.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    return encoder


def _compare_shapes(
    component: Mapping[str, Any], encoder: Encoder, given: Mapping[str, tuple[int, ...]]
) -> None:
    # Of a number, the files have one of 1.
    wanted = {name: tuple(v.shape) or (1,) for name, v in encoder.state_dict().items()}
    wrong = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
    if wrong:
        raise InputError(
            f"{len(wrong)} of its tensors, {wrong[0]!r} first, are not those of the encoder"
            f" {component.get('_target_')} of this version; train again, or load it with the"
            " version that wrote it"
        )


def save_model(
    folder: Path,
    encoder: torch.nn.Module,
    *,
    component: Mapping[str, Any],
    bank: CentreBank,
    images: Tensor,
    data: str,
    view: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
) -> None:
    """Write weights for inference, with what `Model.load` needs; the bank is written by itself.

    Args:
        folder: to write to.
        encoder: to write.
        component: that its backbone was built from.
        bank: its centres.
        images: some that it was trained on, which tell their shape.
        data: what the data is called.
        view: component of the view that multi-view inference moves images by.
        calibration: None where there is none.
    """
    if component.get("weights"):
        # Where it was is nobody's business, nor read again.
        component = {**component, "weights": Path(component["weights"]).name}
        # It may have been that of the weights, which are not read again.
        component |= {"size": encoder.size} if isinstance(encoder, Encoder) else {}
    about = {
        "encoder": dict(component),
        "channels": images.shape[1],
        "size": list(images.shape[2:]),
        "bank": bank.fingerprint,
        "data": data,
        "view": None if view is None else dict(view),
        "calibration": None if calibration is None else asdict(calibration),
    }
    write_weights(folder, encoder, about)


def write_weights(folder: Path, encoder: torch.nn.Module, about: Mapping[str, Any]) -> None:
    """Write an encoder's weights, and what is to be known of them, to one sealed file."""
    tensors = {k: v.detach().cpu().contiguous().numpy() for k, v in encoder.state_dict().items()}
    save_sealed(folder / WEIGHTS, tensors, {"about": json.dumps(about, sort_keys=True)})


def encoder_fingerprint(component: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of what an encoder is built of and of its weights, by name."""
    digest = sha256(json.dumps(component, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
