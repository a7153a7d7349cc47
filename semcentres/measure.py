"""What is measured of a trained model, group by group; every function returns named numbers.

Dimensions: N images, K classes, D embedding width.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from centre_builders.changes import add
from centre_builders.errors import InputError
from semcentres.checkpoint import Results
from semcentres.data.source import ImageSet, Source
from semcentres.embedding import embed
from semcentres.evaluation.classification import Classification, classify, top_k_accuracy
from semcentres.evaluation.distribution import alignment, cluster_energy, uniformity
from semcentres.evaluation.knn import NUM_NEIGHBOURS, knn_predict
from semcentres.evaluation.probe import can_probe, probe_predict
from semcentres.evaluation.retrieval import num_neighbours, num_relevant, retrieval_metrics
from semcentres.index import Index, nearest_centres
from semcentres.indexes import AnyIndex
from semcentres.model import Model
from semcentres.randomness import generator
from semcentres.seen import Embedded
from semcentres.views import View

log = logging.getLogger(__name__)

SOFT_NEIGHBOURS = 0.1  # temperature, as of PAWS
RANKS = (1, 5, 10)
TOP = 5  # of more classes than that
MAX_HELD = 2**24  # numbers of a block of images' votes


@dataclass(frozen=True)
class Assessed:
    """The images that results are about, and the gallery that they are looked for in.

    Args:
        images: with labels, none of them trained on.
        embeddings: of the images, float32 [N D].
        split: what they are called.
        index: of the gallery: the training images with a known label.
        gallery_labels: row of each gallery image's class.
    """

    images: ImageSet
    embeddings: np.ndarray
    split: str
    index: AnyIndex
    gallery_labels: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Row of each image's class."""
        return self.images.labels.numpy()

    @cached_property
    def among(self) -> Index:
        """Index of the images themselves, for searches that leave each one out."""
        return Index.build(self.embeddings)


def by_centres(model: Model, shown: Assessed) -> tuple[Results, Classification]:
    """Measure the nearest centre: accuracy, top-5, hard cluster energy."""
    centres = model.bank.vectors
    near = nearest_centres(shown.embeddings, centres, min(TOP, len(centres))).ids
    found = classify(near[:, 0], shown.labels, num_classes=len(centres))
    energy = cluster_energy(shown.embeddings, centres, near[:, 0])
    results = {
        "nearest_centre_accuracy": found.accuracy,
        "accuracy_per_class": dict(zip(model.bank.names, found.per_class.tolist(), strict=True)),
        "cluster_energy": energy.total,
        "cluster_energy_mean": energy.sample_mean,
        "cluster_sizes": energy.sizes.tolist(),
    }
    if len(centres) > TOP:
        results[f"nearest_centre_top_{TOP}"] = top_k_accuracy(near, shown.labels, (TOP,))[TOP]
    return results, found


def by_neighbours(shown: Assessed, num_classes: int) -> Results:
    """Measure the kNN classifier over the gallery, and retrieval.

    Each image is a query among the others; where every image is the only one of its class, the
    gallery is searched in their place.
    """
    labels, gallery = shown.labels, shown.gallery_labels
    near = shown.index.search(shown.embeddings, NUM_NEIGHBOURS)
    votes = knn_predict(near.ids, near.cosines, gallery, num_classes=num_classes)
    alone = not num_relevant(labels).any()
    if alone:
        k = num_neighbours(labels, gallery=gallery)
        blocks = shown.index.search_blocks(shown.embeddings, k)
    else:
        rows = np.arange(len(labels))
        blocks = shown.among.search_blocks(shown.embeddings, num_neighbours(labels), exclude=rows)
    found = retrieval_metrics(
        ((rows, block.ids) for rows, block in blocks), labels, gallery=gallery if alone else None
    )
    return {
        "knn_accuracy": float((votes == labels).mean()),
        **{f"recall_at_{rank}": value for rank, value in found.recall_at.items()},
        "r_precision": found.r_precision,
        "map_at_r": found.map_at_r,
        "retrieval_gallery": "training images" if alone else f"the other {shown.split} images",
    }


def by_labelled(held: Embedded, labelled: Embedded, centres: np.ndarray) -> Results:
    """Measure the classifiers that can be made of the images that training had labels of.

    Linear probes on the embeddings and on the features before the head, and PAWS's soft nearest
    neighbours; beside them the nearest centre. No probe where the images are too few for one.
    """
    known = labelled.labels
    found = {
        "nearest_centre": nearest_centres(held.embeddings, centres).ids[:, 0],
        "soft_neighbour": _soft_neighbours(held.embeddings, labelled, len(centres)),
    }
    if can_probe(known):
        found["probe"] = probe_predict(labelled.embeddings, known, held.embeddings)
        if held.features.shape[1]:
            found["feature_probe"] = probe_predict(labelled.features, known, held.features)
    return {f"{name}_accuracy": float((at == held.labels).mean()) for name, at in found.items()}


def _soft_neighbours(asked: np.ndarray, taught: Embedded, num_classes: int) -> np.ndarray:
    """Return the classes by `paws.soft_neighbours`, without rows of K numbers for the labels."""
    labels, supports = torch.from_numpy(taught.labels), torch.from_numpy(taught.embeddings)
    found = []
    for part in torch.from_numpy(asked).split(max(1, MAX_HELD // max(num_classes, len(labels)))):
        weights = (part @ supports.T / SOFT_NEIGHBOURS).softmax(dim=1)
        votes = weights.new_zeros(len(part), num_classes).index_add_(1, labels, weights)
        found.append(votes.argmax(dim=1))
    return torch.cat(found).numpy()


def by_distribution(model: Model, shown: Assessed, views: Sequence[View], seed: int) -> Results:
    """Measure alignment of two views and uniformity."""
    first, other = (
        embed(model.encoder, shown.images.images, view=_seeded(view, seed, number))
        for number, view in enumerate((views[0], views[-1]))
    )
    return {
        "alignment": alignment(first, other),
        "uniformity": uniformity(shown.embeddings),
    }


def by_new_names(model: Model, source: Source, embeddings: np.ndarray | None) -> Results:
    """Classify images of classes that were never trained, by centres added from their names.

    Among the unseen names only, and among all names; nothing where the data has none. The
    embeddings are those of `source.novel`.
    """
    if source.novel is None or embeddings is None:
        return {}
    results: Results = {"num_novel": len(source.novel_names), "num_novel_images": len(source.novel)}
    try:
        bank = add(model.bank, source.novel_names)
    except InputError as error:
        log.info("no centres for unseen names: %s", error)
        return results
    seen, labels = len(model.bank.names), source.novel.labels.numpy()
    for name, centres, wanted in (
        ("zero_shot", bank.vectors[seen:], labels),
        ("zero_shot_all", bank.vectors, labels + seen),
    ):
        near = nearest_centres(embeddings, centres, min(max(RANKS), len(centres))).ids
        scores = top_k_accuracy(near, wanted, RANKS)
        results |= {f"{name}_top_{rank}": value for rank, value in scores.items()}
    return results


def _seeded(view: View, seed: int, number: int) -> Any:  # noqa: ANN401
    """Return the view with its draws fixed, a batch at a time."""

    def seeded(images: Tensor, batch: int) -> Tensor:
        return view(images, generator(seed, "assess", number, batch, device=images.device))

    return seeded
