"""What is measured of confidences, of verdicts, and of what more views of an image bring.

Dimensions: N images, D embedding width.
"""

from functools import partial

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from semcentres.checkpoint import Results
from semcentres.data.source import ImageSet
from semcentres.evaluation.calibration import (
    Reliability,
    negative_log_likelihood,
    reliability,
)
from semcentres.measure import Assessed
from semcentres.model import BLOCK, Model
from semcentres.multi_view import Average, Scores, score_views
from semcentres.prediction import UNCALIBRATED, Predictions

Diagram = dict[str, Reliability]  # "before" and "after" the calibration


def by_calibration(
    model: Model, shown: Assessed, novel: np.ndarray | None, temperature: float
) -> tuple[Results, Diagram]:
    """Measure confidences before and after calibration, and the open-set verdict.

    Args:
        model: with its calibration; one without has the numbers of "before" alone.
        shown: images of known classes, and their embeddings.
        novel: embeddings of images of none of the classes, where the data has such.
        temperature: of "before": what the model was trained with.
    """
    before, diagram = _confidences(model, shown, temperature)
    results: Results = {f"{name}_before": value for name, value in before.items()}
    diagrams = {"before": diagram}
    calibration = model.calibration
    results["calibrated_on"] = calibration.calibrated_on
    if calibration is UNCALIBRATED:
        return results, diagrams
    after, diagrams["after"] = _confidences(model, shown, calibration.temperature)
    known = _predicted(model, shown.embeddings, calibration.temperature)
    results |= {
        **after,
        "num_calibrated_on": calibration.num_images,
        "threshold": calibration.threshold,
        "wanted_false_rejection_rate": calibration.rejected,
        "false_rejection_rate": float((~known.known).mean()),
    }
    if novel is not None:
        strange = _predicted(model, novel, calibration.temperature)
        energies = np.concatenate([known.energies, strange.energies])
        is_novel = np.arange(len(energies)) >= len(known)
        results |= {
            "open_set_auroc": float(roc_auc_score(is_novel, energies)),
            "open_set_false_accept_rate": float(strange.known.mean()),
        }
    return results, diagrams


def by_views(model: Model, images: ImageSet, most: int) -> list[Results]:
    """Measure what 1 to `most` views give: a row for each number and each way to average.

    Returns:
        Rows of average, views, passes (of the encoder, the mean of the images), accuracy, ece and
        the share of images taken for none of the classes.
    """
    everything = torch.arange(len(images))
    seen = [model.embed_view(images.images, number, everything) for number in range(most)]
    labels, rows = images.labels.numpy(), []
    for average in Average:
        for views in range(1, most + 1):
            found = _score(model, seen, model.calibration.temperature, views, average)
            right = found.rows == labels
            rows.append(
                {
                    "average": str(average),
                    "views": views,
                    "passes": float(found.passes.mean()),
                    "accuracy": float(right.mean()),
                    "ece": reliability(found.confidences, right).error,
                    "rejected": float((~found.known).mean()),
                }
            )
    return rows


def _confidences(model: Model, shown: Assessed, temperature: float) -> tuple[Results, Reliability]:
    embeddings, labels = torch.from_numpy(shown.embeddings), shown.images.labels
    found = _predicted(model, shown.embeddings, temperature)
    diagram = reliability(found.confidences, found.rows == shown.labels)
    centres = torch.from_numpy(model.bank.vectors)
    likelihood = negative_log_likelihood(embeddings, centres, labels, temperature=temperature)
    results = {
        "temperature": temperature,
        "ece": diagram.error,
        "negative_log_likelihood": likelihood,
    }
    return results, diagram


def _predicted(model: Model, embeddings: np.ndarray, temperature: float) -> Predictions:
    return _score(model, [torch.from_numpy(embeddings)], temperature, 1, Average.EMBEDDING)


def _score(
    model: Model, seen: list[Tensor], temperature: float, views: int, average: Average
) -> Predictions:
    """Return the predictions for images of which every view has been embedded."""
    centres = torch.from_numpy(model.bank.vectors)

    def encode(start: int, number: int, rows: Tensor) -> Tensor:
        return seen[number][start + rows]

    parts: list[Scores] = [
        score_views(
            partial(encode, start),
            min(BLOCK, len(seen[0]) - start),
            centres,
            temperature=temperature,
            views=views,
            average=average,
        )
        for start in range(0, len(seen[0]), BLOCK)
    ]
    return Predictions.of(parts, model.bank.names, model.calibration)
