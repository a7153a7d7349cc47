"""Adversarial training around any objective: the attacked image is one more view of the image.

What a further view is tied to is the wrapped objective's affair: a labelled image's is pulled to
the centre of its class, an unlabelled image's to what the objective assigns to the clean view, as
the cluster energy does with `tie`. Labels and the attack are as in Madry et al. 2018
(arXiv:1706.06083); that images without labels serve as well is from Uesato et al. 2019
(arXiv:1905.13725) and Carmon et al. 2019 (arXiv:1905.13736).

Dimensions: B images, C channels, H by W pixels, K centres, D embedding width.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from semcentres.objectives.batch import EmbeddedBatch, Objective
from semcentres.objectives.memory import Memory, Remembering
from semcentres.robustness.attacks import Norm, attack


@runtime_checkable
class Attacking(Protocol):
    """An objective that wants an attacked view, the last, of every image."""

    def attack(
        self, encoder: nn.Module, centres: Tensor, inputs: Tensor, labels: Tensor | None
    ) -> Tensor:
        """Return the attacked inputs; without labels, the class that is left is the nearest."""
        ...


class Adversarial(nn.Module):
    """An objective, with the images of the first view attacked for one view more.

    The attack sees the encoder in evaluation mode, as attackers will. It costs `steps` gradients
    and as many passes more, and one, for each image.

    Args:
        objective: what is trained; it must take one view more than there are in `views`.
        norm: of the attack: l2 or linf.
        radius: of the attack, in the units of the inputs (pixel values in [0, 1]), above 0.
        steps: of the attack, at least 1; 1 with linf is the fast gradient sign method.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self, *, objective: Objective, norm: Norm | str = Norm.L2, radius: float, steps: int = 3
    ) -> None:
        super().__init__()
        if radius <= 0 or steps < 1:
            raise ValueError(
                f"radius must be above 0 and steps at least 1, got {radius} and {steps}"
            )
        self.objective = objective
        self.temperature = objective.temperature
        self.norm, self.radius, self.steps = Norm(norm), radius, steps

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the wrapped objective's terms."""
        return self.objective(batch)

    def before_step(self, step: int, remember: Callable[[], Memory]) -> None:
        """Hand the step on to the wrapped objective, if it remembers."""
        if isinstance(self.objective, Remembering):
            self.objective.before_step(step, remember)

    def attack(
        self,
        encoder: nn.Module,
        centres: Float[Tensor, "K D"],
        inputs: Float[Tensor, "B C *HW"],
        labels: Int[Tensor, " B"] | None,
    ) -> Float[Tensor, "B C *HW"]:
        """Return the inputs, moved away from their class as far as the attack finds.

        Args:
            encoder: inputs to embeddings.
            centres: unit rows.
            inputs: a view of images, in [0, 1] where they are images.
            labels: row of each image's centre; None takes the one nearest to the clean view.
        """
        if not len(inputs):
            return inputs

        def scores(moved: Tensor) -> Tensor:
            cosines: Tensor = encoder(moved).float() @ centres.T
            return cosines

        mode = encoder.training
        encoder.eval()
        if labels is None:
            with torch.no_grad():
                labels = scores(inputs).argmax(dim=1)
        moved = attack(
            scores,
            inputs,
            labels,
            norm=self.norm,
            radius=self.radius,
            steps=self.steps,
            bounds=(0.0, 1.0) if inputs.ndim == 4 else None,
        )
        encoder.train(mode)
        return moved
