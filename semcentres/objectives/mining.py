r"""Hard negatives from the whole training set, less those that are likely of the anchor's class.

The hardest negatives of an anchor are its nearest images of other classes; where most labels are
unknown, many of the nearest are of its own class, and pushing them off harms (Robinson et al.
2021, arXiv:2010.04592, correct for it in the mean). Here a candidate is left out by two rules:

    by confidence   an image without a label whose most probable centre has less than `confidence`
                    is nobody's negative and has none
    by centres      a candidate whose centre is within `angle` of the anchor's centre is likely a
                    false negative; its own centre always is

The centre of an image is its label's, or the nearest one where there is none.

Dimensions: N training images, K centres, D embedding width, B images of a batch, k negatives.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from semcentres.index import Index
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.contrast import Estimator, check_options
from semcentres.objectives.joined import join
from semcentres.objectives.memory import Memory
from semcentres.objectives.nt_xent import info_nce
from semcentres.softmin import assignment

BLOCK = 8192  # images whose probabilities of all centres are held at once


@torch.no_grad()
def hard_negatives(
    memory: Memory, *, num: int, angle: float, confidence: float, temperature: float
) -> Int[Tensor, "N k"]:
    """Return for each image the rows of its k hardest negatives, hardest first.

    Args:
        memory: of the whole training set.
        num: k.
        angle: in degrees, in [0, 180).
        confidence: in [0, 1].
        temperature: of the soft-min by which images without label are assigned.

    Returns:
        Rows of the memory; -1 where an image has fewer negatives, or none.
    """
    assigned, certain = assign(memory, confidence=confidence, temperature=temperature)
    rows = memory.embeddings.cpu().numpy()
    limit, centres = np.cos(np.radians(angle)), memory.centres.cpu().numpy()
    found = np.full((len(rows), num), -1)
    for centre in np.unique(assigned[certain]):
        anchors = np.flatnonzero(certain & (assigned == centre))
        apart = centres @ centres[centre] < limit
        apart[centre] = False
        candidates = np.flatnonzero(certain & apart[assigned])
        if len(candidates):
            near = Index.build(rows[candidates]).search(rows[anchors], num).ids
            found[anchors, : near.shape[1]] = candidates[near]
    return torch.from_numpy(found).to(memory.labels.device)


def assign(
    memory: Memory, *, confidence: float, temperature: float
) -> tuple[Int[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Return each image's centre, and whether that is certain enough to learn from."""
    likely = [
        assignment(rows, memory.centres, temperature=temperature).max(dim=1)
        for rows in memory.embeddings.split(BLOCK)
    ]
    known = memory.labels >= 0
    centres = torch.where(known, memory.labels, torch.cat([found.indices for found in likely]))
    sure = known | (torch.cat([found.values for found in likely]) >= confidence)
    return centres.cpu().numpy(), (sure & memory.used).cpu().numpy()


class MinedNegatives(nn.Module):
    """Each view of an image near its next view, and far from its hardest negatives.

    The negatives are embeddings of the averaged encoder, mined anew every so many steps; they
    receive no gradient. Labelled and unlabelled images of the batch are anchors alike.

    Args:
        num_negatives: k, at least 1.
        refresh_every: steps from one mining to the next, at least 1.
        angle: in degrees, in [0, 180): a nearer centre's images are no negatives.
        confidence: in [0, 1], of images without label.
        assignment_temperature: of the soft-min by which they are assigned, above 0.
        margin: of the triplet loss max(0, margin + a . n - a . p), in cosine, above 0; None takes
            InfoNCE.
        temperature: of InfoNCE, in units of cosine, above 0.
        estimator: of InfoNCE's sum over negatives: uniform, debiased or hard.
        tau_plus: chance that a negative is of the anchor's class, in [0, 1).
        beta: how much nearer negatives count more, at least 0.

    Raises:
        ValueError: an option is out of its range.
    """

    # Its own soft-min only assigns; nothing is drawn to its minima.
    temperature: float | None = None

    def __init__(
        self,
        *,
        num_negatives: int = 16,
        refresh_every: int = 500,
        angle: float = 30.0,
        confidence: float = 0.5,
        assignment_temperature: float = 0.3,
        margin: float | None = None,
        temperature: float = 0.2,
        estimator: Estimator | str = Estimator.UNIFORM,
        tau_plus: float = 0.1,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        check_options(temperature, estimator, tau_plus, beta)
        _check(num_negatives, refresh_every, angle, confidence, assignment_temperature, margin)
        self.refresh_every = refresh_every
        self.margin = margin
        self.mine = partial(
            hard_negatives,
            num=num_negatives,
            angle=angle,
            confidence=confidence,
            temperature=assignment_temperature,
        )
        self.contrast = partial(
            info_nce,
            temperature=temperature,
            estimator=Estimator(estimator),
            tau_plus=tau_plus,
            beta=beta,
        )
        self.embeddings = torch.zeros(0, 0)
        self.negatives = torch.zeros(0, num_negatives, dtype=torch.int64)

    def before_step(self, step: int, remember: Callable[[], Memory]) -> None:
        """Mine anew where it is time."""
        if step % self.refresh_every == 0:
            memory = remember()
            self.embeddings = memory.embeddings
            self.negatives = self.mine(memory)

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, the share of images with negatives, and the negatives' mean cosine.

        Raises:
            ValueError: `before_step` has not been called, without which nothing is mined.
        """
        if not len(self.negatives):
            raise ValueError("before_step must be called before the first batch, got no call")
        images = join(batch)
        device = images.rows.device  # a resumed run's checkpoint was read on the CPU
        self.negatives, self.embeddings = self.negatives.to(device), self.embeddings.to(device)
        ids = self.negatives[images.rows]
        kept = ids >= 0
        negatives = self.embeddings[ids.clamp(min=0)]
        turned = (*images.views[1:], images.views[0])
        losses = [
            self._loss(anchors, positives, negatives, kept)
            for anchors, positives in zip(images.views, turned, strict=True)
        ]
        near = (negatives @ images.views[0].detach()[:, :, None]).squeeze(2)
        return {
            "loss": torch.stack(losses).mean(),
            "mined": kept.any(dim=1).sum() / max(1, len(kept)),
            "mined_cosine": (near * kept).sum() / kept.sum().clamp(min=1),
        }

    def _loss(self, anchors: Tensor, positives: Tensor, negatives: Tensor, kept: Tensor) -> Tensor:
        if self.margin is None:
            return self.contrast(anchors, positives, negatives, kept=kept)
        own = (anchors * positives).sum(dim=1, keepdim=True)
        others = (negatives @ anchors[:, :, None]).squeeze(2)
        return ((self.margin + others - own).relu() * kept).sum() / kept.sum().clamp(min=1)

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return what was mined, for a resumed run."""
        return {"embeddings": self.embeddings, "negatives": self.negatives}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        self.embeddings, self.negatives = state["embeddings"], state["negatives"]


def _check(
    num: int, every: int, angle: float, confidence: float, soft: float, margin: float | None
) -> None:
    if num < 1 or every < 1:
        raise ValueError(
            f"num_negatives and refresh_every must be at least 1, got {num} and {every}"
        )
    if not 0 <= angle < 180:
        raise ValueError(f"angle must be in [0, 180) degrees, got {angle}")
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence must be in [0, 1], got {confidence}")
    if soft <= 0:
        raise ValueError(f"assignment_temperature must be positive, got {soft}")
    if margin is not None and margin <= 0:
        raise ValueError(f"margin must be positive or null, got {margin}")
