"""The linear probe: how far a linear classifier gets on frozen embeddings.

Dimensions: N images that it is fitted to, Q images that it is asked about, D columns.
"""

import numpy as np
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from centre_builders.errors import InputError

MAX_STEPS = 300  # of L-BFGS; enough for hundreds of classes, whose optimum is not sought further


def can_probe(labels: Int[np.ndarray, " N"]) -> bool:
    """Return whether there are two classes and two images a class, on average, at least."""
    num = len(np.unique(labels))
    return num >= 2 and len(labels) >= 2 * num


def probe_predict(
    embeddings: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    queries: Float[np.ndarray, "Q D"],
    *,
    penalty: float = 1.0,
) -> Int[np.ndarray, " Q"]:
    """Return the class that a logistic regression on standardised embeddings gives each query.

    The linear evaluation of Zhang et al. 2016 (arXiv:1603.08511) and most work since, with the
    labels that training had, so that it can be compared with the nearest centre.

    Args:
        embeddings: of labelled images.
        labels: their classes, two at least.
        queries: embeddings to classify.
        penalty: weight of the squared weights against the sum of the losses, above 0.

    Raises:
        InputError: there are fewer than two classes, or fewer images than twice the classes, or
            the penalty is not positive.
    """
    if penalty <= 0:
        raise InputError(f"the probe's penalty must be positive, got {penalty}")
    if not can_probe(labels):
        raise InputError(
            "the probe needs two classes and two labelled images a class at least, got"
            f" {len(np.unique(labels))} classes and {len(labels)} images"
        )
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=MAX_STEPS))
    return np.asarray(probe.fit(embeddings, labels).predict(queries))
