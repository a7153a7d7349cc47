"""What is searched for as vectors: text by the centres' builder, images by the encoder.

Dimensions: Q queries, C channels, H by W pixels, D embedding width.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from centre_builders.bank import CentreBank
from centre_builders.errors import InputError
from centre_builders.free_text import text_vector
from semcentres.data.stored import decode


def query_vectors(
    query: str | Path | Tensor,
    *,
    bank: CentreBank,
    embed: Callable[[Tensor], np.ndarray],
    about: Mapping[str, Any],
) -> Float32[np.ndarray, "Q D"]:
    """Return the unit vectors of a query; one for text and for a file.

    Args:
        query: text, an image file, or uint8 images [C H W] or [Q C H W].
        bank: places text.
        embed: images [Q C H W] to unit rows.
        about: the model's: `channels` and `size` of its images.

    Raises:
        InputError: the text cannot be placed, or the file is no readable image; what `embed`
            raises.
    """
    if isinstance(query, str):
        return text_vector(bank, query)[None]
    if isinstance(query, Path):
        query = decode(query, **image_shape(about))
    return embed(query[None] if query.ndim == 3 else query)


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
