"""Backbones from torchvision and timm, with the weights and the normalisation they come with.

Dimensions: B images, C channels, H by W pixels, D embedding width.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from centre_builders.errors import InputError
from semcentres.encoder import Encoder
from semcentres.views import plain

log = logging.getLogger(__name__)

DEFAULT = "DEFAULT"
TENSORS_ALONE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # of the environment; torch.load heeds it first
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class LibraryModel:
    """A model of 3 channels whose last layer gives D numbers, and what its weights expect.

    Args:
        module: images [B 3 H W] to raw embeddings [B D].
        size: side in pixels that the encoder resizes images to; None leaves them.
        trained_at: side of the images that the weights were trained on; None for new weights.
        normalisation: mean and standard deviation of the weights' own data, of values in [0, 1];
            None for new weights.
    """

    module: nn.Module
    size: int | None
    trained_at: int | None = None
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None

    def encoder(self, statistics: tuple[Sequence[float], Sequence[float]]) -> Encoder:
        """Return the encoder, normalised as its weights expect, else by the data's statistics.

        One mean serves three channels: an encoder repeats the channel of grey images.
        """
        mean, std = (list(part) for part in self.normalisation or statistics)
        if len(mean) == 1:
            mean, std = mean * 3, std * 3
        size, trained_at = self.size, self.trained_at
        return Encoder(self.module, mean=mean, std=std, size=size, trained_at=trained_at)


def torchvision_model(
    *,
    channels: int,
    dimension: int,
    name: str = "resnet18",
    weights: str | None = None,
    size: int | None = None,
) -> LibraryModel:
    """Return a torchvision classification model whose last layer, always new, gives D numbers.

    Args:
        channels: of the images: 3, or 1, which is repeated.
        dimension: D.
        name: as `torchvision.models.get_model` takes it.
        weights: a file (.safetensors, or .pth that holds tensors alone) whose normalisation is
            taken to be that of torchvision's own weights; DEFAULT or another name of torchvision's
            weights, which are fetched once; None draws new ones.
        size: side in pixels that images are resized to before the model; None takes that of the
            weights, and leaves the images where these are new.

    Raises:
        ValueError: torchvision has no such model, or the images have other channels.
        InputError: the weights cannot be read or fetched, or are another model's.
    """
    from torchvision import models

    _check(name, models.list_models(module=models), channels, "torchvision")
    model: nn.Module = models.get_model(name, weights=None, num_classes=dimension)
    if weights is None:
        return LibraryModel(model, size)
    known = models.get_model_weights(name).__members__
    chosen = known.get(weights, known[DEFAULT])
    if weights in known:
        cache = torch.hub.get_dir()
        made = _fetched(name, cache, lambda: models.get_model(name, weights=chosen))
        _take(model, made, weights)
    else:
        _take(model, read_weights(weights, others=known), weights)
    seen = chosen.transforms()
    side = seen.crop_size[0]
    return LibraryModel(model, side if size is None else size, side, (seen.mean, seen.std))


def timm_model(
    *,
    channels: int,
    dimension: int,
    name: str = "resnet18",
    weights: str | None = None,
    size: int | None = None,
) -> LibraryModel:
    """Return a timm model whose last layer, always new, gives D numbers.

    Args:
        channels: of the images: 3, or 1, which is repeated.
        dimension: D.
        name: as `timm.create_model` takes it; `name.tag` chooses among published weights.
        weights: a file (.safetensors, or .pth that holds tensors alone) whose normalisation is
            taken to be that of the published weights; DEFAULT for these, which are fetched once;
            None draws new ones.
        size: side in pixels that images are resized to before the model; None takes that of the
            weights, and leaves the images where these are new.

    Raises:
        ValueError: timm has no such model, or the images have other channels.
        InputError: timm is not installed; the weights cannot be read or fetched, or are another
            model's.
    """
    try:
        import timm
        from huggingface_hub.constants import HF_HUB_CACHE
        from timm.data.config import resolve_model_data_config
    except ImportError as error:
        raise InputError("encoder=timm needs timm: pip install 'semcentres[timm]'") from error
    _check(name.partition(".")[0], timm.list_models(), channels, "timm")
    model: nn.Module = timm.create_model(name, num_classes=dimension)
    if weights is None:
        return LibraryModel(model, size)
    if weights == DEFAULT:
        made = _fetched(name, HF_HUB_CACHE, lambda: timm.create_model(name, pretrained=True))
        _take(model, made, weights)
    else:
        _take(model, read_weights(weights, others=[DEFAULT]), weights)
    seen = resolve_model_data_config(model)
    side, norm = seen["input_size"][-1], (seen["mean"], seen["std"])
    return LibraryModel(model, side if size is None else size, side, norm)


def read_weights(path: str, *, others: Sequence[str] | Mapping[str, Any] = ()) -> Weights:
    """Return the tensors of a .safetensors file, or of a .pth file that holds nothing else.

    Args:
        path: of the file; weights within an entry `model` or `state_dict` are found too.
        others: names that could have been given in place of a file.

    Raises:
        InputError: no such file, or one that would run code or is damaged.
    """
    from safetensors.torch import load_file

    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(
            f"encoder.weights={path} is no file; give one, or {' or '.join(others) or 'null'}"
        )
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        read = torch.load(file, map_location="cpu", weights_only=True)
    # Not a list of errors: bytes that are no pickle lead its reader to nearly every kind there is.
    except Exception as error:
        raise InputError(
            f"{file} does not hold weights alone ({_reason(error)}); save the model's state_dict()"
        ) from error
    found = read.get("model", read.get("state_dict", read)) if isinstance(read, dict) else read
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise InputError(f"{file} holds no tensors by their names; save the model's state_dict()")
    return found


def check_images(encoder: Encoder, images: Shaped[Tensor, "N ..."]) -> None:
    """Try an encoder on an image, and say where the images are not what its weights expect.

    Raises:
        InputError: the backbone cannot take images of this size.
    """
    if images.ndim != 4:
        return
    side, wanted = encoder.size or images.shape[-1], encoder.trained_at or 224
    remedy = f"data.source.size={wanted} keeps more of larger files"
    mode = encoder.training
    try:
        with torch.inference_mode():
            encoder.eval()(plain(images[:1]))
    except InputError:
        raise  # it has its own remedy
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"the encoder cannot take images of {side} pixels ({error}); set encoder.size={wanted},"
            f" which resizes them within the model; {remedy}"
        ) from error
    finally:
        encoder.train(mode)
    if images.shape[1] < len(encoder.mean):
        log.info("the backbone takes %d channels: the images' one is repeated", len(encoder.mean))
    if encoder.size not in (None, images.shape[-1]):
        told = "images of %d pixels are resized to %d within the model; %s"
        log.info(told, images.shape[-1], encoder.size, remedy)
    if encoder.trained_at not in (None, side):
        told = "the backbone's weights were trained on images of %d pixels, it is given %d"
        log.info(told, encoder.trained_at, side)


def _check(name: str, known: Sequence[str], channels: int, library: str) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"; it has {', '.join(near)}" if near else ""
        raise ValueError(f"{library} has no classification model {name!r}{hint}")
    if channels not in (1, 3):
        raise ValueError(f"{name} takes 3 channels, or 1 repeated; the images have {channels}")


def _fetched(name: str, cache: str, make: Any) -> Weights:  # noqa: ANN401
    """Return the weights of the published model that `make` gives, by way of a cache."""
    before = os.environ.get(TENSORS_ALONE)
    # torchvision has them loaded as any pickle, also what lies in the cache under their name.
    os.environ[TENSORS_ALONE] = "1"
    try:
        weights: Weights = make().state_dict()
    # Not a list of errors: of the connection, and as in `read_weights` of what lies in the cache.
    except Exception as error:
        raise InputError(
            f"the published weights of {name} cannot be had ({_reason(error)}); fetch them once"
            f" where there is a connection (what is damaged of them in {cache} must be removed"
            " first), or set encoder.weights=FILE"
        ) from error
    finally:
        del os.environ[TENSORS_ALONE]
        if before is not None:
            os.environ[TENSORS_ALONE] = before
    return weights


def _reason(error: Exception) -> str:
    # torch's own message goes on with how to switch the safety off.
    return f"{error} ".splitlines()[0].split(". ")[0].strip()


def _take(model: nn.Module, weights: Weights, origin: str) -> None:
    """Load all weights but those of the last layer.

    Raises:
        InputError: they are not this model's; the first differences are named.
    """
    *_, (last, _) = (
        (name, m) for name, m in model.named_modules() if list(m.parameters(recurse=False))
    )
    head = {f"{last}.weight", f"{last}.bias"}  # of classes, where ours gives embeddings
    wanted = {k: v.shape for k, v in model.state_dict().items() if k not in head}
    given = {k: v.shape for k, v in weights.items() if k not in head}
    wrong = sorted(k for k in wanted.keys() | given.keys() if wanted.get(k) != given.get(k))
    if wrong:
        told = "; ".join(
            f"{k}: {_shape(wanted, k)} wanted, {_shape(given, k)} given" for k in wrong[:2]
        )
        raise InputError(
            f"encoder.weights={origin}: {len(wrong)} tensors are not this model's ({told})"
        )
    model.load_state_dict({k: v for k, v in weights.items() if k not in head}, strict=False)


def _shape(shapes: Mapping[str, torch.Size], key: str) -> str:
    return str(list(shapes[key])) if key in shapes else "none"
