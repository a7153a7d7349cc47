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


def embed_together(
    encoder: nn.Module,
    images: Tensor,
    ranks: Ranks,
    *,
    rows: Tensor | None = None,
    everywhere: bool = True,
) -> np.ndarray:
    """Return what `embed` returns, to the bit; each rank has embedded its share.

    All ranks must call it.

    Args:
        encoder: as of `embed`, the same on all ranks.
        images: as of `embed`.
        ranks: who embeds.
        rows: as of `embed`.
        everywhere: whether every rank gets the result; else the first does, the others no rows.
    """
    if ranks.count == 1:
        return embed(encoder, images, rows=rows)
    whole, parts = torch.arange(len(images)) if rows is None else rows, []
    # Whole batches, as one process has them: a row's last bits may depend on its batch.
    for block in whole.split(BATCH * ranks.count):
        batches = block.split(BATCH)
        at = min(ranks.rank, len(batches) - 1)  # one too many learns the width from the last
        own = torch.from_numpy(embed(encoder, images, rows=batches[at]))
        found = own.new_zeros(len(block), own.shape[1])
        if at == ranks.rank:
            found[at * BATCH : at * BATCH + len(own)] = own
        found = ranks.add(found)
        parts.append(found if everywhere or ranks.first else found[:0])
    return torch.cat(parts).numpy()
