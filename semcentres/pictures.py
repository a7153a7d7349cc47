"""The picture of each row of a collection: from its file, or from the data that a run was made of.

Dimensions: C channels, H by W pixels.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.collection import Collection
from semcentres.compose import load_config
from semcentres.data.stored import decode
from semcentres.recipe import make_source

SIDE = 128  # pixels of a picture that is read from a file

Picture = Callable[[int], UInt8[Tensor, "C H W"]]


def pictures(collection: Collection, run_dir: Path, *, side: int = SIDE) -> Picture:
    """Return a function from a row to its picture.

    Args:
        collection: that the rows are of.
        run_dir: whose data set is read where it is not of files.
        side: pixels of a picture that is read from a file.

    Raises:
        InputError: the data set is not the one that was embedded, or is not of pictures.
    """
    if collection.path(0) is not None:
        return lambda row: decode(Path(str(collection.path(row))), side)
    source = make_source(load_config(run_dir / "config.yaml").data)
    if source.fingerprint != collection.about.get("data"):
        raise InputError(
            f"the data of {run_dir} is not what was embedded; embed and index it again"
        )
    images = (source.test if collection.about.get("split") == "test" else source.train).images
    if images.dtype != torch.uint8:
        raise InputError(f"{source.name} holds plain vectors, of which there are no pictures")
    return lambda row: images[int(collection.ids[row])]
