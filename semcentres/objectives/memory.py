"""What an objective may remember of the whole training set, beside the batch.

Dimensions: N training images, K centres, D embedding width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """Every training image as the averaged encoder sees it, without augmentation.

    Args:
        embeddings: unit rows, in the order of the training set; without gradient.
        labels: row of the centre where the training knows the label, else -1.
        used: whether a row is trained on; held-out images are not to be learnt from.
        centres: unit rows [K D].
        seed: of the run.
    """

    embeddings: Float[Tensor, "N D"]
    labels: Int[Tensor, " N"]
    used: Bool[Tensor, " N"]
    centres: Float[Tensor, "K D"]
    seed: int


@runtime_checkable
class Remembering(Protocol):
    """An objective that looks at the whole training set from time to time."""

    def before_step(self, step: int, remember: Callable[[], Memory]) -> None:
        """Prepare for a step; `remember` is costly and to be called every so many steps.

        What it keeps must be in the module's state, so that a resumed run goes on with it.
        """
        ...
