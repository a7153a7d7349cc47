"""From a trained model to results: embeddings, index, metrics, pictures, model card."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from centre_builders.artefact import write_file
from centre_builders.embedded import make_items
from semcentres.approximate import build_index, check_wanted
from semcentres.card import model_card
from semcentres.checkpoint import Results, RunFolder
from semcentres.collection import save_collection
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split
from semcentres.evaluation.report import (
    draw_confusion,
    draw_curves,
    draw_gallery,
    draw_gram,
    draw_map,
    draw_recorded,
    draw_toy,
)
from semcentres.indexes import AnyIndex, describe_index
from semcentres.measure import (
    Assessed,
    Embedded,
    by_centres,
    by_distribution,
    by_labelled,
    by_neighbours,
    by_new_names,
)
from semcentres.measure_hierarchy import by_hierarchy
from semcentres.model import Model
from semcentres.recipe import labelled_images
from semcentres.settings import TrainConfig
from semcentres.views import View

log = logging.getLogger(__name__)

NUM_SHOWN = 8
MAX_MAPPED = 20  # classes; above, colours and names are not told apart
MAX_CONFUSION = 100  # classes; above, the matrix is drawn but not written as JSON


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
    gallery, rows = _gallery(source, split, config.split)
    index = build_index(
        model.embed(gallery.images),
        kind=check_wanted(config.index, config.index_recall),
        recall=config.index_recall,
    )
    _save_index(run, index, model, source, rows)
    asked, taught = (
        Embedded.of(model.encoder, part, model.bank.dimension)
        for part in (held, labelled_images(source, split))
    )
    shown = Assessed(held, asked.embeddings, config.split, index, gallery.labels.numpy())
    by_centre, found = by_centres(model, shown)
    results = {
        **_about(model, source, split, config, shown),
        **by_labelled(asked, taught, model.bank.vectors),
        **by_centre,
        **by_neighbours(shown, len(source.class_names)),
        **by_distribution(model, shown, views, config.seed),
        **by_hierarchy(model, shown, source),
        **by_new_names(model, source),
    }
    if len(found.confusion) <= MAX_CONFUSION:
        results["confusion"] = found.confusion.tolist()
    log.info("drawing the report")
    _draw(run, model, shown, gallery, found.confusion)
    write_file(run.path / "README.md", model_card(results, config, path=str(run.path)).encode())
    # Last, because it is what says that the run is finished.
    run.write_json("metrics.json", results)
    return results


def _gallery(source: Source, split: Split, held: str) -> tuple[ImageSet, np.ndarray]:
    """Return the training images with a known label, less those held out, and their rows."""
    kept = source.train.labels >= 0
    if held == "validation":
        kept[split.validation] = False
    images = ImageSet(source.train.images[kept], source.train.labels[kept])
    return images, kept.nonzero()[:, 0].numpy()


def _save_index(
    run: RunFolder, index: AnyIndex, model: Model, source: Source, rows: np.ndarray
) -> None:
    names = [source.class_names[label] for label in source.train.labels[rows].tolist()]
    about = {
        "model": model.fingerprint,
        "data": source.fingerprint,
        "bank": model.bank.fingerprint,
        "split": "train",
    }
    items = make_items(rows, [None] * len(rows), names)
    save_collection(run.path / "index", index, items, about)


def _about(
    model: Model, source: Source, split: Split, config: TrainConfig, shown: Assessed
) -> Results:
    bank, shape = model.bank, model.bank.geometry()
    return {
        "data": source.name,
        "origin": source.origin,
        "split": config.split,
        "class_names": list(bank.names),
        "channels": source.channels,
        "num_images": len(shown.images),
        "num_gallery": len(shown.index),
        "index": describe_index(shown.index),
        "num_labelled": len(split.labelled),
        "num_unlabelled": len(split.unlabelled) if config.trainer.unlabelled_batch else 0,
        "seed": config.seed,
        "steps": config.trainer.steps,
        "builder": bank.provenance["builder"]["_target_"],
        "conditioning": [step.step for step in bank.conditioning],
        "dimension": bank.dimension,
        "mean_cosine": shape.mean_cosine,
        "max_cosine": shape.max_cosine,
        "safe_temperature": shape.safe_temperature,
        "num_parameters": sum(p.numel() for p in model.encoder.parameters()),
    }


def _draw(
    run: RunFolder, model: Model, shown: Assessed, gallery: ImageSet, confusion: np.ndarray
) -> None:
    run.report.mkdir(exist_ok=True)
    names, labels = model.bank.names, shown.labels
    means = np.stack([_mean(shown.embeddings[labels == k]) for k in range(len(names))])
    draw_gram(model.bank.vectors, means, names, run.report / "gram.png")
    draw_confusion(confusion, names, run.report / "confusion.png")
    draw_curves(run.records(), run.report / "curves.png")
    if len(names) <= MAX_MAPPED:
        draw_map(shown.embeddings, labels, model.bank.vectors, names, run.report / "map.png")
    draw_recorded(model.bank.provenance["source"], run.report / "trade_off.png")
    images = shown.images.images
    if images.dtype == torch.uint8:
        _draw_gallery(run, model, shown, gallery)
    elif images.shape[1] == 3:
        (weight,) = model.encoder.backbone.parameters()
        weights = weight.detach().numpy()
        draw_toy(images.numpy(), labels, weights, model.bank.vectors, names, run.report / "toy.png")


def _draw_gallery(run: RunFolder, model: Model, shown: Assessed, gallery: ImageSet) -> None:
    labels = shown.labels
    if len(np.unique(labels)) < len(labels):
        found = shown.images
        near = shown.among.search(shown.embeddings, NUM_SHOWN, exclude=np.arange(len(labels)))
    else:
        # Every image is alone in its class: the others hold no right neighbour, the gallery may.
        found = gallery
        near = shown.index.search(shown.embeddings, NUM_SHOWN)
    draw_gallery(
        shown.images.images.numpy(),
        labels,
        near.ids,
        near.cosines,
        model.bank.names,
        run.report / "gallery.png",
        found_images=found.images.numpy(),
        found_labels=found.labels.numpy(),
    )


def _mean(rows: np.ndarray) -> np.ndarray:
    """Return the direction of the mean, zero where there is no row."""
    total = rows.sum(axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12))
