"""From a trained model to results: embeddings, index, metrics, pictures, model card."""

import logging

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from centre_builders.artefact import write_file
from centre_builders.items import make_items
from semcentres.approximate import build_index, check_wanted
from semcentres.card import PICTURES, model_card
from semcentres.checkpoint import Results, RunFolder
from semcentres.collection import save_collection
from semcentres.components import build
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split
from semcentres.evaluation.report import (
    draw_confusion,
    draw_curves,
    draw_gallery,
    draw_gram,
    draw_map,
    draw_recorded,
    draw_reliability,
    draw_toy,
    draw_views,
)
from semcentres.indexes import AnyIndex, describe_index
from semcentres.measure import (
    Assessed,
    by_centres,
    by_distribution,
    by_labelled,
    by_neighbours,
    by_new_names,
)
from semcentres.measure_calibration import by_calibration, by_views
from semcentres.measure_hierarchy import by_hierarchy
from semcentres.model import Model
from semcentres.objectives.batch import Objective
from semcentres.seen import Seen
from semcentres.settings import TrainConfig

log = logging.getLogger(__name__)

NUM_SHOWN = 8
MAX_MAPPED = 20  # classes; above, colours and names are not told apart
MAX_CONFUSION = 100  # classes; above, the matrix is drawn but not written as JSON


def assess(
    run: RunFolder,
    model: Model,
    source: Source,
    split: Split,
    seen: Seen,
    config: TrainConfig,
    *,
    num_views: int = 1,
) -> Results:
    """Measure a model, write metrics.json, index, pictures and model card, return the results.

    `seen` is what the model makes of the images, those of `config.split` being asked. Above 1,
    `num_views` is the largest number of views whose gain and cost are measured too.
    """
    held, gallery, asked = seen.held, seen.rows, seen.asked
    index = build_index(
        seen.gallery,
        kind=check_wanted(config.index, config.index_recall),
        recall=config.index_recall,
    )
    _save_index(run, index, model, source, gallery)
    shown = Assessed(held, asked.embeddings, config.split, index, source.labels[gallery].numpy())
    by_centre, found = by_centres(model, shown)
    novel = None if source.novel is None else model.embed(source.novel.images)
    objective: Objective = build(config.objective, "objective")
    calibrated, diagrams = by_calibration(model, shown, novel, objective.temperature or 1.0)
    views = [build(view, "views") for view in config.views.values()]
    results = {
        **_about(model, source, split, config, shown),
        **by_labelled(asked, seen.taught, model.bank.vectors),
        **by_centre,
        **by_neighbours(shown, len(source.class_names)),
        **by_distribution(model, shown, views, config.seed),
        **by_hierarchy(model, shown, source),
        **by_new_names(model, source, novel),
        **calibrated,
    }
    if num_views > 1:
        results["views"] = by_views(model, held, num_views)
    if found.confusion is not None and len(found.confusion) <= MAX_CONFUSION:
        results["confusion"] = found.confusion.tolist()
    log.info("drawing the report")
    _draw(run, model, shown, source.train, gallery, found.confusion)
    draw_reliability(diagrams, run.report / "reliability.png")
    if num_views > 1:
        draw_views(results["views"], run.report / "views.png")
    there = [name for name in PICTURES if (run.path / name).is_file()]
    card = model_card(results, config, path=str(run.path), pictures=there)
    write_file(run.path / "README.md", card.encode())
    # Last, because it is what says that the run is finished.
    run.write_json("metrics.json", results)
    return results


def _save_index(
    run: RunFolder, index: AnyIndex, model: Model, source: Source, rows: Int[Tensor, " G"]
) -> None:
    names = [source.class_names[label] for label in source.labels[rows].tolist()]
    about = {
        "model": model.fingerprint,
        "data": source.fingerprint,
        "bank": model.bank.fingerprint,
        "split": "train",
    }
    known = source.train.paths
    paths = [known[row] if known else None for row in rows.tolist()]
    items = make_items(rows.numpy(), paths, names)
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
    run: RunFolder,
    model: Model,
    shown: Assessed,
    train: ImageSet,
    gallery: Int[Tensor, " G"],
    confusion: np.ndarray | None,
) -> None:
    run.report.mkdir(exist_ok=True)
    names, labels = model.bank.names, shown.labels
    if confusion is None:
        log.info("no gram.png and confusion.png: %d classes are too many for a matrix", len(names))
    else:
        means = np.stack([_mean(shown.embeddings[labels == k]) for k in range(len(names))])
        draw_gram(model.bank.vectors, means, names, run.report / "gram.png")
        draw_confusion(confusion, names, run.report / "confusion.png")
    draw_curves(run.records(), run.report / "curves.png")
    if len(names) <= MAX_MAPPED:
        draw_map(shown.embeddings, labels, model.bank.vectors, names, run.report / "map.png")
    draw_recorded(model.bank.provenance["source"], run.report / "trade_off.png")
    images = shown.images.images
    if images.dtype == torch.uint8:
        _draw_gallery(run, model, shown, train, gallery)
    elif images.shape[1] == 3:
        (weight,) = model.encoder.backbone.parameters()
        weights = weight.detach().cpu().numpy()
        draw_toy(images.numpy(), labels, weights, model.bank.vectors, names, run.report / "toy.png")


def _draw_gallery(
    run: RunFolder, model: Model, shown: Assessed, train: ImageSet, gallery: Int[Tensor, " G"]
) -> None:
    labels = shown.labels
    if len(np.unique(labels)) < len(labels):
        found = shown.images
        near = shown.among.search(shown.embeddings, NUM_SHOWN, exclude=np.arange(len(labels)))
        ids = near.ids
    else:
        # Every image is alone in its class: the others hold no right neighbour, the gallery may.
        found = train
        near = shown.index.search(shown.embeddings, NUM_SHOWN)
        ids = gallery.numpy()[near.ids]
    draw_gallery(
        shown.images.images.numpy(),
        labels,
        ids,
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
