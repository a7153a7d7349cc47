"""Cross-entropy of a learnt linear head: the usual classifier, to compare fixed centres with.

Dimensions: L labelled images, K classes, D embedding width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from centre_builders.errors import InputError
from semcentres.objectives.batch import EmbeddedBatch


class CrossEntropy(nn.Module):
    r"""The cross-entropy of all labelled views by a head that is learnt with the encoder.

    With z the unit embeddings, W and b the head's weights and bias:

        loss_i = -log( exp(w_{y_i} . z_i + b_{y_i}) / sum_k exp(w_k . z_i + b_k) )

    Unlabelled images and the centres' directions are not used, so that the embeddings lie near no
    centre: kNN and the linear probe say what they are worth, the nearest centre does not. W has
    no fixed length; it grows as far as the weight decay lets it, in the place of a temperature.

    Args:
        num_classes: K, at least 2; the number of centres.
        dimension: D, at least 1; the width of the centres. None is refused.

    Raises:
        ValueError: a number is too small.
    """

    temperature: float | None = None

    def __init__(self, *, num_classes: int, dimension: int | None) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        if dimension is None or dimension < 1:
            raise ValueError(
                f"dimension must be at least 1, got {dimension}; give the centres' width"
            )
        self.head = nn.Linear(dimension, num_classes)

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, the mean over images and views.

        Raises:
            InputError: the batch's centres have another shape than the head.
        """
        if batch.centres.shape != self.head.weight.shape:
            num, width = batch.centres.shape
            raise InputError(
                f"the head has num_classes, dimension = {tuple(self.head.weight.shape)}, the"
                f" centres ({num}, {width}); set objective.num_classes={num}"
                f" objective.dimension={width}"
            )
        logits = self.head(torch.cat(batch.labelled))
        labels = batch.labels.repeat(len(batch.labelled))
        losses = F.cross_entropy(logits, labels, reduction="none")
        # max(1, .): an empty batch costs 0 and stays connected to the graph, where mean() is nan.
        return {"loss": losses.sum() / max(1, len(losses))}
