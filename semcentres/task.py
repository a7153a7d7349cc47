"""What a run trains on.

Dimensions: N training images, K centres, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from semcentres.data.source import ImageSet
from semcentres.data.stream import Stream
from semcentres.views import View


@dataclass(frozen=True)
class Task:
    """What a run trains on; all of it arrives from outside.

    Args:
        images: the training images; they stay on the training device, or on disk.
        labelled: stream of their labelled rows.
        unlabelled: stream of their unlabelled rows; may be empty.
        views: one random view or more; every image of a batch is seen through each.
        centres: unit rows.
        seed: of all draws.
    """

    images: ImageSet
    labelled: Stream
    unlabelled: Stream
    views: Sequence[View]
    centres: Float[Tensor, "K D"]
    seed: int

    def on(self, device: torch.device) -> "Task":
        """Return the task on a device; images on disk stay there, a batch of them is moved."""
        images = self.images
        pixels = images.images if images.on_disk else images.images.to(device)
        images = replace(images, images=pixels, labels=images.labels.to(device))
        return replace(self, images=images, centres=self.centres.to(device))

    def batch(self, rows: Int[Tensor, " B"]) -> Tensor:
        """Return images on the device of the centres."""
        images, device = self.images.images[rows], self.centres.device
        if device.type == "cuda" and images.device != device:
            images = images.pin_memory()
        return images.to(device, non_blocking=True)

    def known_labels(self) -> Int[Tensor, " N"]:
        """Return the labels that the training may see, -1 for the others."""
        labels = torch.full_like(self.images.labels, -1)
        labels[self.labelled.rows] = self.images.labels[self.labelled.rows]
        return labels

    def used(self) -> Bool[Tensor, " N"]:
        """Return which images the training may see."""
        used = torch.zeros_like(self.images.labels, dtype=torch.bool)
        used[torch.cat([self.labelled.rows, self.unlabelled.rows])] = True
        return used
