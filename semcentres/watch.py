"""Watching the unlabelled images' nearest centres, so that a collapse shows at once.

Dimensions: U unlabelled images, K centres.
"""

from typing import Any

import torch
from torch import Tensor

from semcentres.index import nearest_centres
from semcentres.objectives.memory import Memory

# Of one look: shares, and the list of how many images each centre has.
Look = dict[str, float | list[int]]


class AssignmentWatch:
    """Compare each look at the unlabelled images' nearest centres with the one before."""

    def __init__(self) -> None:
        self._before = torch.zeros(0, dtype=torch.int64)

    def look(self, memory: Memory) -> Look:
        """Assign all unlabelled images through the index.

        Returns:
            `assignment_churn`, the share of them whose nearest centre is another than at the
            look before (1 at the first); `assignment_largest`, the share that the fullest centre
            has; `assignment_empty`, the share of centres without an image; `assigned`, the
            images of each centre. Nothing where every image has a label.
        """
        rows = memory.used & (memory.labels < 0)
        if not rows.any():
            return {}
        centres = memory.centres.cpu().numpy()
        ids = nearest_centres(memory.embeddings[rows].cpu().numpy(), centres, 1).ids[:, 0]
        now = torch.from_numpy(ids)
        counts = torch.bincount(now, minlength=len(centres))
        moved = (now != self._before).double().mean() if len(self._before) == len(now) else 1.0
        self._before = now
        return {
            "assignment_churn": float(moved),
            "assignment_largest": int(counts.max()) / max(1, len(now)),
            "assignment_empty": float((counts == 0).double().mean()),
            "assigned": counts.tolist(),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a resumed run compares its next look with."""
        return {"before": self._before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        self._before = state["before"]
