"""What a model says of images: class, confidence, runner-up, and whether it is any of its classes.

Dimensions: N images, K classes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from semcentres.multi_view import Scores


@dataclass(frozen=True)
class Calibration:
    """What confidences and verdicts rest on; fitted by `calibrate`, kept with the model.

    Args:
        temperature: t of p_k = softmax(-d_k^2 / t) and of the energy, in squared distance.
        threshold: an image of higher energy is of none of the classes.
        rejected: share of the images below that the threshold was to reject.
        calibrated_on: the images that both were fitted to.
        num_images: how many these were.
    """

    temperature: float
    threshold: float
    rejected: float
    calibrated_on: str
    num_images: int

    def __post_init__(self) -> None:
        """Refuse what no calibration has.

        Raises:
            ValueError: the temperature is not positive, or the threshold is no number.
        """
        if not (0 < self.temperature < math.inf and self.threshold == self.threshold):
            raise ValueError(f"a calibration of temperature {self.temperature}, {self.threshold}")


# Of a model that was saved without one: the seed's formula, and every image is of some class.
UNCALIBRATED = Calibration(1.0, math.inf, 0.0, "nothing", 0)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image; the fields are those of `Predictions`."""

    name: str
    confidence: float
    runner_up: str
    runner_up_confidence: float
    energy: float
    known: bool


@dataclass(frozen=True)
class Predictions:
    """What a model says of N images, array by array; iterating gives one `Prediction` an image.

    Attributes:
        class_names: of the model's classes, which the rows count.
        rows: of the class whose centre is nearest.
        confidences: its probability, in [0, 1].
        runners_up: rows of the second nearest; where there is one class, that.
        runner_up_confidences: their probabilities.
        energies: soft-min of the squared distances to all centres; high for odd images.
        known: False where the energy is above the threshold: "none of these".
        passes: times that the encoder saw the image.
    """

    class_names: tuple[str, ...]
    rows: Int64[np.ndarray, " N"]
    confidences: Float32[np.ndarray, " N"]
    runners_up: Int64[np.ndarray, " N"]
    runner_up_confidences: Float32[np.ndarray, " N"]
    energies: Float32[np.ndarray, " N"]
    known: Bool[np.ndarray, " N"]
    passes: Int64[np.ndarray, " N"]

    @classmethod
    def of(
        cls, parts: Sequence[Scores], class_names: tuple[str, ...], calibration: Calibration
    ) -> "Predictions":
        """Return the predictions that scores, part after part, amount to."""
        rows, confidences, energies, passes = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("rows", "confidences", "energies", "passes")
        )
        return cls(
            class_names,
            rows[:, 0],
            confidences[:, 0],
            rows[:, 1],
            confidences[:, 1],
            energies,
            energies <= np.float32(calibration.threshold),
            passes,
        )

    @property
    def names(self) -> list[str]:
        """Name of each image's class."""
        return [self.class_names[row] for row in self.rows]

    @property
    def runner_up_names(self) -> list[str]:
        """Name of each image's runner-up."""
        return [self.class_names[row] for row in self.runners_up]

    def __len__(self) -> int:
        """Return N."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Prediction]:
        """Yield what is said of each image."""
        columns = (self.confidences, self.runner_up_confidences, self.energies, self.known)
        numbers = zip(*(column.tolist() for column in columns), strict=True)
        for name, other, (sure, less_sure, energy, known) in zip(
            self.names, self.runner_up_names, numbers, strict=True
        ):
            yield Prediction(name, sure, other, less_sure, energy, known)
