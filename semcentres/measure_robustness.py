"""The verb `robustness`: accuracy under attack, what is estimated, and what is certified.

Dimensions: N images, K classes, D embedding width.
"""

import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from centre_builders.errors import UsageError
from semcentres.checkpoint import Results, RunFolder
from semcentres.compose import load_config
from semcentres.data.source import ImageSet, Source
from semcentres.data.split_file import check_unchanged
from semcentres.evaluation.calibration import reliability
from semcentres.evaluation.figures_robustness import draw_robustness
from semcentres.model import Model
from semcentres.randomness import generator
from semcentres.recipe import make_source, make_split, select
from semcentres.robustness.attacks import Norm, Scores, least_gap
from semcentres.robustness.certificates import first_order_margins, lipschitz_radii
from semcentres.robustness.smoothing import ABSTAIN, Smoothing
from semcentres.settings import RobustnessConfig
from semcentres.views import plain

log = logging.getLogger(__name__)

CERTIFICATES = ("lipschitz", "smoothing")
SCALE = "norms of the change of one image, pixel values in [0, 1]"
VECTOR_SCALE = "norms of the change of one vector, in the data's own units"


def robustness(config: RobustnessConfig, source: Source | None = None) -> tuple[RunFolder, Results]:
    """Attack a trained run's images and certify them; write report/robustness.json and .png.

    Args:
        config: what to do.
        source: the images, where the run was trained on images made in Python.

    Raises:
        UsageError: a setting is out of its range.
        InputError: the data has changed since, or views are asked of a model without one.
    """
    _check(config)
    run = RunFolder(Path(config.run_dir))
    trained = load_config(run.path / "config.yaml")
    model = Model.load(run.path)
    source = check_unchanged(run.path, source or make_source(trained.data))
    held, _ = select(source, make_split(trained, source), config.split)
    rows = torch.linspace(0, len(held) - 1, min(config.num_images, len(held))).long()
    shown = replace(held, images=held.images[rows], labels=held.labels[rows], ids=())
    with run.lock():
        results = {"data": source.name, "split": config.split, **measure(model, shown, config)}
        run.report.mkdir(exist_ok=True)
        run.write_json("report/robustness.json", results)
        draw_robustness(results, run.report / "robustness.png")
    return run, results


def measure(model: Model, shown: ImageSet, config: RobustnessConfig) -> Results:
    """Return what attacks find of these images, what is estimated, and what is certified."""
    pixels = shown.images.dtype == torch.uint8
    inputs, labels = plain(shown.images), shown.labels
    asked = Asked(inputs, labels, (0.0, 1.0) if pixels else None, config)
    found = model.predict(shown.images)
    right = found.rows == labels.numpy()
    scores = scores_over(model, 1)
    log.info("attacking %s images", f"{len(labels):,}")
    results: Results = {
        "num_images": len(labels),
        "scale": SCALE if pixels else VECTOR_SCALE,
        "clean_accuracy": float(right.mean()),
        "ece": reliability(found.confidences, right).error,
        "attacked": {
            "is": "upper bound: what an attack did not find may be there all the same",
            "by": f"projected gradient descent, {config.steps} steps: on the margin from the"
            " image, on the likelihood from a random start",
            **{
                norm: [{"radius": r, "accuracy": asked.accuracy(scores, norm, r)} for r in radii]
                for norm, radii in (("l2", sorted(config.l2)), ("linf", sorted(config.linf)))
            },
        },
    }
    rows = torch.from_numpy(found.rows)
    margins = first_order_margins(scores, inputs)
    results["estimated"] = {
        "is": "first-order margin estimate, not a guarantee",
        "norm": "l2",
        "median": float(margins.median()),
        "broken_by_attack": asked.broken(scores, rows, margins),
    }
    if config.certify == "smoothing":
        results["certified"] = _by_noise(model, inputs, labels.numpy(), config)
    else:
        centres = torch.from_numpy(model.bank.vectors)
        bound, radii = lipschitz_radii(model.encoder, inputs, centres)
        results["certified"] = {
            "is": "certified: no smaller change of the image changes its class",
            "by": "lipschitz",
            "norm": "l2",
            "lipschitz_constant": bound if math.isfinite(bound) else None,
            **_shares(radii.numpy(), right, config.l2),
            "broken_by_attack": asked.broken(scores, rows, radii.float()),
        }
    if config.num_views > 1:
        results["views"] = [
            _by_views(model, shown, asked, views) for views in range(1, config.num_views + 1)
        ]
    return results


@dataclass(frozen=True)
class Asked:
    """Images to attack, and how.

    Args:
        inputs: as the encoder takes them.
        labels: row of each one's class.
        bounds: of the values of an input; None where there are none.
        config: steps and seed of the attacks.
    """

    inputs: Tensor
    labels: Tensor
    bounds: tuple[float, float] | None
    config: RobustnessConfig

    def accuracy(
        self, scores: Scores, norm: str, radius: float, judge: Scores | None = None
    ) -> float:
        """Return the share of images that are right by `judge` whatever the attacks do."""
        gaps = self._least_gap(scores, self.labels, norm, radius, judge)
        return float((gaps > 0).float().mean())

    def broken(self, scores: Scores, rows: Tensor, radii: Tensor) -> float:
        """Return the share of images whose class `rows` changes within their own l2 radius."""
        return float((self._least_gap(scores, rows, "l2", radii) < 0).float().mean())

    def _least_gap(
        self,
        scores: Scores,
        rows: Tensor,
        norm: str,
        radius: float | Tensor,
        judge: Scores | None = None,
    ) -> Tensor:
        return least_gap(
            scores,
            self.inputs,
            rows,
            norm=Norm(norm),
            radius=radius,
            steps=self.config.steps,
            seed=self.config.seed,
            bounds=self.bounds,
            judge=judge,
        )


def scores_over(model: Model, views: int) -> Scores:
    """Return the model's scores of an image over views; gradients pass all of them.

    Each is the mean over views of the unit embedding, times a centre. The largest is the class
    that `Model.predict` gives by the average of embeddings or of distances.
    """
    encoder, centres = model.encoder.eval(), torch.from_numpy(model.bank.vectors)

    def scores(inputs: Tensor) -> Tensor:
        seen = [inputs, *(model.moved(255 * inputs, number) for number in range(1, views))]
        mean = torch.stack([encoder(view) for view in seen]).mean(dim=0)
        cosines: Tensor = mean @ centres.T
        return cosines

    return scores


def _by_noise(
    model: Model, inputs: Tensor, labels: np.ndarray, config: RobustnessConfig
) -> Results:
    noise, scores = _noise(config), scores_over(model, 1)

    @torch.inference_mode()
    def classify(noisy: Tensor) -> Tensor:
        return scores(noisy).argmax(dim=1)

    log.info("certifying by %s noisy copies of each image", f"{noise.first + noise.samples:,}")
    rows, radii = noise.certify(classify, inputs, generator(config.seed, "smoothing"))
    return {
        "is": "certified, of the smoothed classifier alone: each radius is right with probability"
        f" {1 - noise.alpha:g}",
        "by": "smoothing",
        "norm": "l2",
        **asdict(noise),
        "abstained": float((rows == ABSTAIN).mean()),
        "smoothed_accuracy": float((rows == labels).mean()),
        **_shares(radii, rows == labels, config.l2),
    }


def _noise(config: RobustnessConfig) -> Smoothing:
    return Smoothing(sigma=config.sigma, samples=config.samples, alpha=config.alpha)


def _shares(radii: np.ndarray, right: np.ndarray, wanted: list[float]) -> Results:
    """Return the share of images that are right and certified for at least each radius."""
    return {
        "median": float(np.median(radii)),
        "l2": [
            {"radius": r, "accuracy": float((right & (radii >= r)).mean())} for r in sorted(wanted)
        ],
    }


def _by_views(model: Model, shown: ImageSet, asked: Asked, views: int) -> Results:
    """Return accuracy, ECE and accuracy under attack of so many views averaged.

    The first attack sees all views, as an attacker who knows the model will; the second was made
    for the plain image alone, and says how much of the gain is only that.
    """
    found = model.predict(shown.images, views=views)
    right = found.rows == shown.labels.numpy()
    over, one = scores_over(model, views), scores_over(model, 1)
    radius = min(asked.config.l2)
    return {
        "views": views,
        "accuracy": float(right.mean()),
        "ece": reliability(found.confidences, right).error,
        "norm": "l2",
        "radius": radius,
        "attacked_accuracy": asked.accuracy(over, "l2", radius),
        "attacked_through_one_view": asked.accuracy(one, "l2", radius, over),
    }


def _check(config: RobustnessConfig) -> None:
    if config.certify not in CERTIFICATES:
        raise UsageError(f"certify={config.certify}: there are {', '.join(CERTIFICATES)}")
    if min(config.num_images, config.steps, config.num_views) < 1:
        raise UsageError(
            f"num_images={config.num_images}, steps={config.steps} and num_views="
            f"{config.num_views} must be 1 or more"
        )
    if not config.l2 or min([*config.l2, *config.linf]) <= 0:
        raise UsageError(f"l2={config.l2} and linf={config.linf} must be above 0, and l2 not empty")
    _noise(config)
