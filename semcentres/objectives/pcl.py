r"""Prototypical Contrastive Learning: views of an image together, and near their cluster's middle.

The training set is clustered every so many steps, as the averaged encoder sees it, into M sets of
clusters of different number. With v the views of the batch's images (Li et al. 2021,
arXiv:2005.04966):

    loss = InfoNCE + 1/M sum_m mean_v ProtoNCE_m(v)

InfoNCE is between the views of a batch, where the paper has a queue of a momentum encoder. Images
that share a cluster of the coarsest clustering are not each other's negatives in it, which the
paper does not do.

Dimensions: N training images, B images of a batch, k clusters, D embedding width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from semcentres.kmeans import kmeans
from semcentres.objectives.batch import EmbeddedBatch
from semcentres.objectives.conflict import loss_and_conflict
from semcentres.objectives.joined import Joined, join
from semcentres.objectives.memory import Memory
from semcentres.objectives.nt_xent import all_cosines, nt_xent_of_cosines
from semcentres.objectives.prototypes_nce import concentrations, proto_nce
from semcentres.randomness import generator


@dataclass(frozen=True)
class Clustering:
    """The training images in clusters.

    Args:
        prototypes: unit rows, the centroids' directions.
        phi: each prototype's temperature.
        assigned: cluster of each training image, -1 where it is not trained on.
    """

    prototypes: Float[Tensor, "k D"]
    phi: Float[Tensor, " k"]
    assigned: Int[Tensor, " N"]

    def on(self, device: torch.device) -> "Clustering":
        """Return the clustering with its tensors on a device."""
        return Clustering(**{name: value.to(device) for name, value in vars(self).items()})


def cluster(memory: Memory, num: int, *, seed: int, temperature: float) -> Clustering:
    """Return the clusters of the images that are trained on.

    Args:
        memory: of the whole training set; at least one image is used.
        num: clusters wanted, at least 1.
        seed: of k-means, in [0, 2^31).
        temperature: mean of phi, above 0.
    """
    rows = memory.embeddings[memory.used].float()
    found = kmeans(rows.cpu().numpy(), num, seed=seed)
    own = torch.from_numpy(found.assigned)
    distances = torch.from_numpy(found.distances)
    # On the CPU: elsewhere the order of its sums is not fixed.
    phi = concentrations(distances, own, len(found.centroids), temperature=temperature)
    assigned = torch.full_like(memory.labels, -1)
    assigned[memory.used] = own.to(assigned)
    prototypes = F.normalize(torch.from_numpy(found.centroids), dim=1)
    return Clustering(prototypes.to(rows), phi.to(rows), assigned)


class ProtoNCE(nn.Module):
    """InfoNCE between an image's views, with ProtoNCE over clusters of the whole training set.

    Labels are not used. Clusters are first made when the warm-up is over, at the step after, and
    anew at each multiple of `refresh_every`; prototypes receive no gradient.

    Args:
        num_clusters: k of each clustering, at least one, each at least 2.
        num_negatives: r, prototypes drawn that are no image's of the batch, at least 0.
        refresh_every: steps from one clustering to the next, at least 1.
        warmup: share of the training with InfoNCE alone, in [0, 1].
        temperature: of InfoNCE, and mean of the prototypes', in units of cosine, above 0.
        repeat_positives: whether a prototype counts once for each of its images in the batch, as
            in the authors' code.
        same_cluster_negatives: whether InfoNCE has images of one cluster as negatives, as in the
            paper.

    Raises:
        ValueError: an option is out of its range.
    """

    # It has no soft-min over centres.
    temperature: float | None = None

    def __init__(
        self,
        *,
        num_clusters: Sequence[int] = (10, 50, 100),
        num_negatives: int = 256,
        refresh_every: int = 500,
        warmup: float = 0.2,
        temperature: float = 0.2,
        repeat_positives: bool = False,
        same_cluster_negatives: bool = False,
    ) -> None:
        super().__init__()
        _check(num_clusters, num_negatives, refresh_every, warmup, temperature)
        self.num_clusters = sorted(num_clusters)
        self.num_negatives = num_negatives
        self.refresh_every = refresh_every
        self.warmup = warmup
        self.contrast_temperature = temperature
        self.repeat_positives = repeat_positives
        self.same_cluster_negatives = same_cluster_negatives
        self.clusterings: list[Clustering] = []  # the coarsest first
        self.step, self.seed, self.progress = -1, 0, 0.0

    def before_step(self, step: int, remember: Callable[[], Memory]) -> None:
        """Cluster anew where it is time."""
        self.step = step
        due = not self.clusterings or step % self.refresh_every == 0
        if due and self.progress >= self.warmup:
            memory = remember()
            self.seed = memory.seed
            draw = generator(memory.seed, step, "kmeans")
            seeds = torch.randint(2**31, (len(self.num_clusters),), generator=draw).tolist()
            self.clusterings = [
                cluster(memory, num, seed=seed, temperature=self.contrast_temperature)
                for num, seed in zip(self.num_clusters, seeds, strict=True)
            ]

    def forward(self, batch: EmbeddedBatch) -> dict[str, Tensor]:
        """Return the loss, its two parts, and InfoNCE's conflict over the images of known class.

        Raises:
            ValueError: `before_step` has not been called, without which nothing is clustered.
        """
        if self.step < 0:
            raise ValueError("before_step must be called before the first batch, got no call")
        self.progress = batch.progress
        images = join(batch)
        self.clusterings = [found.on(images.rows.device) for found in self.clusterings]
        loss_of = partial(
            nt_xent_of_cosines,
            num_views=len(images.views),
            temperature=self.contrast_temperature,
            dissimilar=self._dissimilar(images),
        )
        terms = loss_and_conflict(
            loss_of,
            all_cosines(images.views),
            images.of_views(images.rows),
            images.of_views(images.truth),
            wanted=batch.diagnose,
        )
        instance, prototype = terms["loss"], self._to_prototypes(images)
        return terms | {
            "loss": instance + prototype,
            "instance": instance,
            "prototype": prototype,
        }

    def _dissimilar(self, images: Joined) -> Bool[Tensor, "B B"]:
        if self.same_cluster_negatives or not self.clusterings:
            return images.differ()
        clusters = self.clusterings[0].assigned[images.rows]
        return clusters[:, None] != clusters

    def _to_prototypes(self, images: Joined) -> Float[Tensor, ""]:
        embeddings = torch.cat(images.views)
        draw = generator(self.seed, self.step, "pcl", device=embeddings.device)
        losses = [
            proto_nce(
                embeddings,
                found.prototypes,
                found.phi,
                images.of_views(found.assigned[images.rows]),
                num_negatives=self.num_negatives,
                generator=draw,
                repeat_positives=self.repeat_positives,
            )
            for found in self.clusterings
        ]
        return torch.stack(losses).mean() if losses else embeddings.new_zeros(())

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the clusters and where the run is, for a resumed one."""
        state = {
            "step": torch.tensor(self.step),
            "seed": torch.tensor(self.seed),
            "progress": torch.tensor(self.progress, dtype=torch.float64),
        }
        for m, found in enumerate(self.clusterings):
            state |= {f"{name}.{m}": value for name, value in vars(found).items()}
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_extra_state` returned."""
        self.step, self.seed = int(state["step"]), int(state["seed"])
        self.progress = float(state["progress"])
        names = ("prototypes", "phi", "assigned")
        num = sum(name.startswith("phi.") for name in state)
        self.clusterings = [
            Clustering(**{name: state[f"{name}.{m}"] for name in names}) for m in range(num)
        ]


def _check(
    num_clusters: Sequence[int], negatives: int, every: int, warmup: float, temperature: float
) -> None:
    if len(num_clusters) == 0 or min(num_clusters) < 2:
        # One cluster of all would leave no image a negative.
        raise ValueError(
            f"num_clusters must hold at least one number, each at least 2, got {num_clusters}"
        )
    if negatives < 0:
        raise ValueError(f"num_negatives must be at least 0, got {negatives}")
    if every < 1:
        raise ValueError(f"refresh_every must be at least 1, got {every}")
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup must be in [0, 1], got {warmup}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
