"""From a trained model to results: embeddings, index, metrics, pictures, model card."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from centre_builders.artefact import write_file
from semcentres.card import model_card
from semcentres.checkpoint import RunFolder
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split
from semcentres.embedding import embed
from semcentres.evaluation.classification import classify
from semcentres.evaluation.distribution import alignment, cluster_energy, uniformity
from semcentres.evaluation.knn import knn_predict
from semcentres.evaluation.report import (
    draw_confusion,
    draw_curves,
    draw_gallery,
    draw_gram,
    draw_toy,
)
from semcentres.evaluation.retrieval import num_neighbours, retrieval_metrics
from semcentres.index import Index, nearest_centres
from semcentres.model import Model
from semcentres.randomness import generator
from semcentres.settings import TrainConfig
from semcentres.views import View

log = logging.getLogger(__name__)

NUM_NEIGHBOURS = 20
NUM_SHOWN = 8

Results = dict[str, Any]


@dataclass(frozen=True)
class Assessed:
    """The images that results are about.

    Args:
        images: with labels, none of them trained on.
        embeddings: of the images, float32 [N D].
        split: what they are called.
    """

    images: ImageSet
    embeddings: np.ndarray
    split: str

    @property
    def labels(self) -> np.ndarray:
        """Row of each image's class."""
        return self.images.labels.numpy()


def assess(
    run: RunFolder,
    model: Model,
    source: Source,
    split: Split,
    views: Sequence[View],
    held: ImageSet,
    config: TrainConfig,
) -> Results:
    """Measure a model, write metrics.json, index, pictures and model card, return the results."""
    log.info("embedding %s images", f"{len(held) + len(source.train):,}")
    shown = Assessed(held, model.embed(held.images), config.split)
    gallery = _gallery(source, split, config.split)
    index = Index.build(model.embed(gallery.images))
    about = {"model": model.fingerprint, "data": source.fingerprint, "bank": model.bank.fingerprint}
    index.save(run.path / "index", about)
    results = {
        **_about(model, source, split, config, len(held), len(gallery)),
        **_by_centres(model, shown),
        **_by_neighbours(shown, index, gallery.labels.numpy(), len(source.class_names)),
        **_distribution(model, shown, views, config.seed),
    }
    log.info("drawing the report")
    _draw(run, model, shown, results)
    write_file(run.path / "README.md", model_card(results, config, path=str(run.path)).encode())
    # Last, because it is what says that the run is finished.
    run.write_json("metrics.json", results)
    return results


def _gallery(source: Source, split: Split, held: str) -> ImageSet:
    """Return the training images with a known label, less those that are held out."""
    kept = source.train.labels >= 0
    if held == "validation":
        kept[split.validation] = False
    return ImageSet(source.train.images[kept], source.train.labels[kept])


def _about(
    model: Model,
    source: Source,
    split: Split,
    config: TrainConfig,
    num_images: int,
    num_gallery: int,
) -> Results:
    bank, shape = model.bank, model.bank.geometry()
    return {
        "data": source.name,
        "origin": source.origin,
        "split": config.split,
        "class_names": list(bank.names),
        "channels": source.channels,
        "num_images": num_images,
        "num_gallery": num_gallery,
        "num_labelled": len(split.labelled),
        "num_unlabelled": len(split.unlabelled) if config.trainer.unlabelled_batch else 0,
        "seed": config.seed,
        "steps": config.trainer.steps,
        "builder": bank.provenance["builder"]["_target_"],
        "dimension": bank.dimension,
        "mean_cosine": shape.mean_cosine,
        "max_cosine": shape.max_cosine,
        "safe_temperature": shape.safe_temperature,
        "num_parameters": sum(p.numel() for p in model.encoder.parameters()),
    }


def _by_centres(model: Model, shown: Assessed) -> Results:
    centres = model.bank.vectors
    assigned = nearest_centres(shown.embeddings, centres).ids[:, 0]
    found = classify(assigned, shown.labels, num_classes=len(centres))
    energy = cluster_energy(shown.embeddings, centres, assigned)
    return {
        "nearest_centre_accuracy": found.accuracy,
        "accuracy_per_class": dict(zip(model.bank.names, found.per_class.tolist(), strict=True)),
        "confusion": found.confusion.tolist(),
        "cluster_energy": energy.total,
        "cluster_energy_mean": energy.sample_mean,
        "cluster_sizes": energy.sizes.tolist(),
    }


def _by_neighbours(
    shown: Assessed, index: Index, gallery_labels: np.ndarray, num_classes: int
) -> Results:
    near = index.search(shown.embeddings, NUM_NEIGHBOURS)
    votes = knn_predict(near.ids, near.cosines, gallery_labels, num_classes=num_classes)
    among = Index.build(shown.embeddings)
    blocks = among.search_blocks(
        shown.embeddings, num_neighbours(shown.labels), exclude=np.arange(len(shown.labels))
    )
    found = retrieval_metrics(((rows, block.ids) for rows, block in blocks), shown.labels)
    return {
        "knn_accuracy": float((votes == shown.labels).mean()),
        **{f"recall_at_{rank}": value for rank, value in found.recall_at.items()},
        "r_precision": found.r_precision,
        "map_at_r": found.map_at_r,
    }


def _distribution(model: Model, shown: Assessed, views: Sequence[View], seed: int) -> Results:
    first, other = (
        embed(model.encoder, shown.images.images, view=_seeded(view, seed, number))
        for number, view in enumerate((views[0], views[-1]))
    )
    return {
        "alignment": alignment(first, other),
        "uniformity": uniformity(shown.embeddings),
    }


def _seeded(view: View, seed: int, number: int) -> Any:  # noqa: ANN401
    """Return the view with its draws fixed, a batch at a time."""

    def seeded(images: Tensor, batch: int) -> Tensor:
        return view(images, generator(seed, "assess", number, batch, device=images.device))

    return seeded


def _draw(run: RunFolder, model: Model, shown: Assessed, results: Results) -> None:
    run.report.mkdir(exist_ok=True)
    names, labels = model.bank.names, shown.labels
    means = np.stack([_mean(shown.embeddings[labels == k]) for k in range(len(names))])
    draw_gram(model.bank.vectors, means, names, run.report / "gram.png")
    draw_confusion(np.array(results["confusion"]), names, run.report / "confusion.png")
    draw_curves(run.records(), run.report / "curves.png")
    images = shown.images.images
    if images.dtype == torch.uint8:
        among = Index.build(shown.embeddings)
        near = among.search(shown.embeddings, NUM_SHOWN, exclude=np.arange(len(labels)))
        path = run.report / "gallery.png"
        draw_gallery(images.numpy(), labels, near.ids, near.cosines, names, path, seed=0)
    elif images.shape[1] == 3:
        (weight,) = model.encoder.backbone.parameters()
        weights = weight.detach().numpy()
        draw_toy(images.numpy(), labels, weights, model.bank.vectors, names, run.report / "toy.png")


def _mean(rows: np.ndarray) -> np.ndarray:
    """Return the direction of the mean, zero where there is no row."""
    total = rows.sum(axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12))
