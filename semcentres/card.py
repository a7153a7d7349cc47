"""The model card that a run folder opens with: what was trained, on what, how well, what not."""

from collections.abc import Mapping, Sequence
from typing import Any

from semcentres.indexes import tell_index
from semcentres.settings import TrainConfig

CARD = """\
# {data} by {kind} centres

An image encoder trained by semcentres: it maps an image to a unit vector of {dimension} numbers,
and the class of an image is the class whose centre is nearest.

## Results on {num_images:,} {split} images (seed {seed})

| measure | value |
|---|---|
{table}

Recall, R-precision and MAP@R: each image is a query among {retrieval_gallery}. kNN: gallery
of {num_gallery:,} training images with their true labels, also those that training did not see;
its search is {search}.
Alignment: mean squared distance of two views of an image; uniformity: log of the mean of
exp(-2 d^2) over pairs (arXiv:2005.10242). ECE: 15 bins (arXiv:1706.04599). Cluster energy: sum
over classes of the mean squared distance to the nearest centre.

{pictures}

## Training

- data: {data}{origin}; {num_labelled:,} labelled and {num_unlabelled:,} unlabelled images
- labels used: {labels}
- classes: {classes}
- centres: {builder}, conditioning: {conditioning}; mean cosine {mean_cosine:.3f}, largest
  {max_cosine:.3f}, safe temperature {safe_temperature:.3f}
- encoder: {encoder}, {num_parameters:,} parameters
- objective: {objective}
- {num_steps:,} steps of {labelled_batch} + {unlabelled_batch} images in {num_views} views

All settings are in `config.yaml`; the same command with the same seed gives the same weights on
the same machine.

## Limits

One seed and one data set; the numbers say nothing about other images. The nearest centre is
always one of the {num_classes} classes, also for an image of none of them; `known` says which
images are too far from all centres. Confidences are calibrated on {calibrated_on}.

## Use

{use}"""

USE = """\
```python
import semcentres

model = semcentres.load("{path}")
found = model.predict(images)  # files, PIL images, or uint8 [N {channels} H W]
found.names, found.confidences, found.known
model.embed(images)    # -> float32 [N {dimension}]
```
"""


MEASURES = {
    "nearest_centre_accuracy": "nearest-centre accuracy",
    "nearest_centre_top_5": "nearest-centre top-5 accuracy",
    "knn_accuracy": "kNN accuracy (k=20, all training labels)",
    "probe_accuracy": "linear probe accuracy",
    "feature_probe_accuracy": "linear probe accuracy, before the head",
    "soft_neighbour_accuracy": "soft nearest neighbour accuracy (the known labels)",
    "ece_before": "calibration error ECE of the confidence, before calibration",
    "ece": "the same, calibrated",
    "false_rejection_rate": "images taken for none of the classes",
    "open_set_auroc": "AUROC of unseen classes against known ones, by energy",
    "open_set_false_accept_rate": "images of unseen classes taken for known ones",
    "recall_at_1": "Recall@1",
    "recall_at_5": "Recall@5",
    "recall_at_10": "Recall@10",
    "r_precision": "R-precision",
    "map_at_r": "MAP@R",
    "alignment": "alignment",
    "uniformity": "uniformity",
    "cluster_energy": "hard cluster energy",
    "mistake_severity": "mistake severity (mean height of the common ancestor)",
    "hp_images_at_5": "hierarchical precision HP@5 of images",
    "hp_classes_at_5": "hierarchical precision HP@5 of classes",
    "zero_shot_top_1": "unseen classes among themselves, top-1",
    "zero_shot_top_5": "unseen classes among themselves, top-5",
    "zero_shot_all_top_5": "unseen classes among all, top-5",
}


PICTURES = {
    "report/gram.png": "centres and class means",
    "report/confusion.png": "confusion",
    "report/gallery.png": "retrieval",
}


def model_card(
    results: Mapping[str, Any],
    config: TrainConfig,
    *,
    path: str,
    pictures: Sequence[str] = tuple(PICTURES),
    use: str = USE,
) -> str:
    """Return the card's Markdown.

    Args:
        results: what `assess` measured; an empty `origin` is not named.
        config: what the run was made with.
        path: of the run folder, as the user wrote it.
        pictures: that are beside the card.
        use: how the model is used, with `{path}` and keys of `results` to fill in.
    """
    measured = {label: results[key] for key, label in MEASURES.items() if key in results}
    table = "\n".join(f"| {label} | {value:.4f} |" for label, value in measured.items())
    builder = config.centres.builder
    origin = f" from {results['origin']}" if results["origin"] else ""
    conditioning = ", ".join(results["conditioning"]) or "none"
    return CARD.format(
        **{**results, "conditioning": conditioning, "origin": origin},
        table=table,
        pictures="\n".join(f"![{PICTURES[name]}]({name})" for name in pictures),
        labels=_labels(config),
        search=tell_index(results["index"]),
        kind=builder["_target_"].split(".")[-2] if builder else "given",
        classes=", ".join(results["class_names"]),
        num_classes=len(results["class_names"]),
        encoder=_call(config.encoder),
        objective=_call(config.objective),
        num_steps=config.trainer.steps,
        labelled_batch=config.trainer.labelled_batch,
        unlabelled_batch=min(config.trainer.unlabelled_batch, results["num_unlabelled"]),
        num_views=len(config.views),
        use=use.format(**results, path=path),
    )


def _labels(config: TrainConfig) -> str:
    each = config.data.labels_per_class
    return "all" if each is None else f"{each} a class, chosen by seed {config.seed}"


def _call(component: Mapping[str, Any]) -> str:
    """Return a component as the call that makes it."""
    name = component["_target_"].rpartition(".")[2]
    keywords = [f"{k}={v}" for k, v in component.items() if not k.startswith("_")]
    return f"`{name}({', '.join(keywords)})`"
