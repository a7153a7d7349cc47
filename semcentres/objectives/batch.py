"""What an objective is given, and what it gives back.

Dimensions: L labelled and U unlabelled images in the batch, K centres, D embedding width.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class EmbeddedBatch:
    """One training batch, embedded.

    Args:
        labelled: unit embeddings of the labelled images, one tensor [L D] a view.
        labels: row of each labelled image's centre.
        unlabelled: unit embeddings of the unlabelled images, one tensor [U D] a view. Where the
            trainer has a teacher, the first view is the teacher's and has no gradient.
        centres: unit rows [K D].
        progress: share of the training that is done, in [0, 1).
        labelled_rows: rows of the labelled images in the training set.
        unlabelled_rows: the same of the unlabelled ones.
        unlabelled_truth: their true classes where the data has them, else -1; for diagnostics
            alone, never to learn from. None where nothing is known.
        diagnose: whether costly diagnostics are wanted; the trainer wants them where it logs.
    """

    labelled: tuple[Float[Tensor, "L D"], ...]
    labels: Int[Tensor, " L"]
    unlabelled: tuple[Float[Tensor, "U D"], ...]
    centres: Float[Tensor, "K D"]
    progress: float
    labelled_rows: Int[Tensor, " L"]
    unlabelled_rows: Int[Tensor, " U"]
    unlabelled_truth: Int[Tensor, " U"] | None = None
    diagnose: bool = True


@runtime_checkable
class Objective(Protocol):
    """A loss over a batch; `temperature` is None where the objective has no soft-min."""

    temperature: float | None

    def __call__(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return named scalars; "loss" is the one to minimise, the others are for the log."""
        ...
