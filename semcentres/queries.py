"""What is searched for as vectors: text by the centres' builder, images by the encoder.

Dimensions: Q queries, C channels, H by W pixels, D embedding width.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image, ImageOps
from torch import Tensor

from centre_builders.bank import CentreBank
from centre_builders.errors import InputError
from centre_builders.free_text import text_vector
from semcentres.data.image_file import square
from semcentres.data.stored import decode

Picture = Path | Image.Image
Pictures = Tensor | np.ndarray | str | Picture | Sequence[str | Picture]


def query_vectors(
    query: str | Picture | Tensor | np.ndarray,
    *,
    bank: CentreBank,
    embed: Callable[[Tensor], np.ndarray],
    about: Mapping[str, Any],
) -> Float32[np.ndarray, "Q D"]:
    """Return the unit vectors of a query; one for text and for a file.

    Args:
        query: text, an image file or PIL image, or uint8 images [C H W] or [Q C H W].
        bank: places text.
        embed: images [Q C H W] to unit rows.
        about: the model's: `channels` and `size` of its images.

    Raises:
        InputError: the text cannot be placed, or the file is no readable image; what `embed`
            raises.
    """
    if isinstance(query, str):
        return text_vector(bank, query)[None]
    images = as_tensor(query, about)
    return embed(images[None] if images.ndim == 3 else images)


def as_tensor(images: Pictures, about: Mapping[str, Any]) -> Tensor:
    """Return images as the encoder takes them.

    Args:
        images: a file or a PIL image, or a list of them, which are read as in training (PIL images
            are resized bicubically); tensors and arrays stay as they are.
        about: the model's: `channels` and `size` of its images.

    Raises:
        InputError: one is no readable image, or there is none.
    """
    if isinstance(images, np.ndarray):
        return torch.from_numpy(images)
    if hasattr(images, "dtype"):  # also images that stay in their files
        return cast(Tensor, images)
    listed = list(images) if isinstance(images, list | tuple) else [images]
    if not listed:
        raise InputError("there are no images; give one at least")
    return torch.stack([_read(image, **image_shape(about)) for image in listed])


def _read(image: object, size: int, channels: int) -> Tensor:
    if isinstance(image, str | Path):
        return decode(Path(image), size, channels)
    if not isinstance(image, Image.Image):
        raise InputError(
            f"an image is of type {type(image).__name__}; give uint8 [N C H W], or a list of files"
            " or PIL images"
        )
    try:
        upright = ImageOps.exif_transpose(image)  # a copy
        return torch.from_numpy(square(upright, size, channels).copy())
    except (ValueError, OSError) as error:
        raise InputError(f"a PIL image cannot be taken ({error})") from error


def image_shape(about: Mapping[str, Any]) -> dict[str, int]:
    """Return `size` and `channels` of a model's images, as readers of files take them.

    Raises:
        InputError: the model was not trained on square images, or before their size was stored.
    """
    size = about.get("size") or [0]
    if min(size) != max(size) or not size[0]:
        raise InputError(
            "the model was not trained on square images, or before their size was stored (size"
            f" {about.get('size')}); train it again, or give images as tensors"
        )
    return {"size": size[0], "channels": about["channels"]}
