"""Encoder over images: embeddings in the images' order.

Dimensions: N images, C channels, H by W pixels, D embedding width.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from semcentres.ranks import Ranks
from semcentres.views import plain

BATCH = 1024


@torch.inference_mode()
def embed(
    encoder: nn.Module,
    images: Tensor,
    *,
    view: Callable[[Tensor, int], Tensor] | None = None,
    rows: Tensor | None = None,
    batch_size: int = BATCH,
) -> np.ndarray:
    """Return the unit embeddings of images as float32 [N D].

    Args:
        encoder: put in evaluation mode; the work is done on its device.
        images: uint8 [N C H W], or floats [N F] for plain vectors.
        view: batch of images and its number to what the encoder takes; None changes nothing.
        rows: which images, and in which order; None takes all.
        batch_size: images a pass; the memory needed beside the result does not depend on N.
    """
    encoder.eval()
    device = next(encoder.parameters()).device
    parts = []
    whole = images if rows is None else rows
    for number, part in enumerate(whole.split(batch_size)):
        inputs = (part if rows is None else images[part]).to(device)
        inputs = plain(inputs) if view is None else view(inputs, number)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        parts.append(encoder(inputs).cpu())
    return torch.cat(parts).numpy()


def embed_together(encoder: nn.Module, images: Tensor, ranks: Ranks) -> np.ndarray:
    """Return what `embed` returns, to the bit, on every rank; each has embedded its share.

    All ranks must call it.
    """
    if ranks.count == 1:
        return embed(encoder, images)
    # Whole batches, as one process has them: a row's last bits may depend on its batch.
    batches = torch.arange(len(images)).split(BATCH)[ranks.rank :: ranks.count]
    rows = torch.cat(batches) if batches else torch.zeros(0, dtype=torch.int64)
    # A rank without a batch learns the width from one image.
    own = embed(encoder, images, rows=rows if len(rows) else torch.zeros(1, dtype=torch.int64))
    whole = torch.zeros(len(images), own.shape[1])
    whole[rows] = torch.from_numpy(own[: len(rows)])
    return ranks.add(whole).numpy()
