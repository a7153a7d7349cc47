"""All images of a batch together, for objectives that do not ask whether an image has a label.

Dimensions: B images, labelled and unlabelled; N = V B embeddings, the view as the slower index.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from semcentres.objectives.batch import EmbeddedBatch


@dataclass(frozen=True)
class Joined:
    """A batch without the border between labelled and unlabelled images, the labelled first.

    Args:
        views: unit embeddings of all images.
        labels: row of the centre, -1 where unknown.
        truth: the same, with what the data knows of the unlabelled images; for diagnostics alone.
        rows: of the images in the training set; a batch may hold one of them twice.
    """

    views: tuple[Float[Tensor, "B D"], ...]
    labels: Int[Tensor, " B"]
    truth: Int[Tensor, " B"]
    rows: Int[Tensor, " B"]

    def differ(self) -> Bool[Tensor, "B B"]:
        """Return which images are different ones."""
        return self.rows[:, None] != self.rows

    def of_views(self, per_image: Int[Tensor, " B"]) -> Int[Tensor, " N"]:
        """Return a value of the images for each view of them."""
        return per_image.repeat(len(self.views))


def join(batch: EmbeddedBatch) -> Joined:
    """Return all images of a batch together."""
    views = zip(batch.labelled, batch.unlabelled, strict=True)
    unknown = torch.full_like(batch.unlabelled_rows, -1).to(batch.labels)
    truth = unknown if batch.unlabelled_truth is None else batch.unlabelled_truth
    rows = torch.cat([batch.labelled_rows, batch.unlabelled_rows])
    return Joined(
        views=tuple(torch.cat(pair) for pair in views),
        labels=torch.cat([batch.labels, unknown]),
        truth=torch.cat([batch.labels, truth]),
        rows=rows.to(batch.labels.device),
    )
