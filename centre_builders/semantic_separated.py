"""Centres that keep the angles of another builder's centres, but for those that are too small.

Dimensions: K centres, n new ones, d width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from centre_builders.cosine_bounds import cosine_bound
from centre_builders.errors import InputError
from centre_builders.protocol import CentreBuilder, RawCentres
from centre_builders.sphere import normalise
from centre_builders.spreading import check_dimension, largest_cosine_to, spread
from centre_builders.trade_off import STEPS, fit_gram, follow, measure, nudge

MANY = 10_000  # classes; a matrix of their pairs has 0.8 GB
NUM_CAPS = 4
TOLERANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class SemanticSeparated:
    """The base's cosines, as nearly as no pair being closer than asked allows.

    With G the Gram matrix of the base's unit vectors (their mean removed where they share one):

        minimise  mean over i < j of (c_i . c_j - G_ij)^2    so that  c_i . c_j <= cap

    over unit vectors. HPN (Mettes et al. 2019, arXiv:1901.10514) adds a loss on the order of
    the cosines to one that separates; here the knob is the angle that two classes keep at least.
    Up to 1,000 classes in 128 dimensions it takes under a minute on two cores.

    Args:
        base: whose angles are wanted.
        largest_cosine: the cap; from the bound of K vectors in d dimensions (-1/(K - 1) for
            K <= d + 1: the simplex, without meaning) to 1 (the base's angles alone).
        dimension: d.
        steps: of the optimiser in each of six rounds; more is better and slower.
    """

    base: CentreBuilder
    largest_cosine: float = 0.3
    dimension: int = 64
    steps: int = STEPS

    def __post_init__(self) -> None:
        """Refuse what is no cosine, or no number of steps."""
        if not -1 <= self.largest_cosine <= 1:
            raise InputError(f"largest_cosine={self.largest_cosine} is no cosine; try 0.3")
        if self.steps < 1:
            raise InputError(f"semantic_separated has steps={self.steps}; give 1 or more")

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the centres; `source` holds what was reached, and points of the trade-off.

        Raises:
            InputError: the base refuses, there are too few or too many classes, or they cannot
                be as far apart as asked.
        """
        num, cap = len(names), self.largest_cosine
        check_dimension(num, self.dimension)
        if not 2 <= num <= MANY:
            raise InputError(
                f"semantic_separated compares all pairs of 2 to {MANY} classes, got {num};"
                " take its base alone"
            )
        least = cosine_bound(num, self.dimension)[0]
        if cap < least - 1e-9:
            raise self._unreached(num, least)
        raw = self.base.build(names, seed=seed, descriptions=descriptions)
        mean = raw.vectors.mean(axis=0) if raw.shares_mean else None
        unit = _directions(raw, mean)
        gram = unit @ unit.T
        found = fit_gram(gram, self.dimension, _caps(gram, cap, least), seed, self.steps)
        curve = [(measure(rows, gram, at), rows) for at, rows in found]
        reached, vectors = next(pair for pair in curve if pair[0].cap == cap)
        self._check_reached(vectors, np.empty((0, self.dimension)))
        source = {
            "base": dict(raw.source),
            # Classes to come are seen from the same origin.
            "mean": None if mean is None else mean.tolist(),
            "reached": asdict(reached),
            "bound": least,
            "trade_off": [asdict(point) for point, _ in curve],
        }
        return RawCentres(vectors, raw.texts, source, min_dimension=self.dimension)

    def extend(
        self,
        vectors: Float[np.ndarray, "K d"],
        names: Sequence[str],
        new_names: Sequence[str],
        *,
        seed: int,
        source: Mapping[str, Any] | None = None,
    ) -> Float[np.ndarray, "n d"]:
        """Return centres of the new names at the base's angles, under the same cap.

        Raises:
            InputError: the base refuses, or they cannot be as far from the others as asked.
        """
        fixed = vectors.astype(np.float64)
        raw = self.base.build([*names, *new_names], seed=seed)
        mean = (source or {}).get("mean")
        if mean is None and raw.shares_mean:
            mean = raw.vectors[: len(names)].mean(axis=0)
        unit = _directions(raw, mean)
        old, new = unit[: len(names)], unit[len(names) :]
        wanted = new @ np.concatenate([new, old]).T
        start = np.linalg.lstsq(fixed, old @ new.T)[0].T
        start = nudge(start, np.random.default_rng([seed, len(names)]))
        caps = (math.inf, self.largest_cosine)
        *_, (_, rows) = follow(start, fixed, wanted, caps, self.steps)
        self._check_reached(rows, fixed)
        return rows

    def _check_reached(
        self, unit: Float[np.ndarray, "n d"], fixed: Float[np.ndarray, "k d"]
    ) -> None:
        if largest_cosine_to(unit, fixed) > self.largest_cosine + TOLERANCE:
            bare = spread(len(unit), fixed, steps=None, rng=np.random.default_rng(0))
            least = largest_cosine_to(bare, fixed)
            if least > self.largest_cosine:
                raise self._unreached(len(unit) + len(fixed), least)
            raise InputError(
                f"largest_cosine={self.largest_cosine} was not met in {self.steps} steps a round;"
                " build the bank with more centres.builder.steps"
            )

    def _unreached(self, num: int, least: float) -> InputError:
        return InputError(
            f"{num} classes in {self.dimension} dimensions cannot keep largest_cosine="
            f"{self.largest_cosine}, for even without meaning the least is {least:.3f}; build the"
            " bank with a greater centres.builder.largest_cosine, or in more dimensions"
        )


def _directions(
    raw: RawCentres, mean: Float[np.ndarray, " D"] | Sequence[float] | None
) -> Float[np.ndarray, "K D"]:
    """Return unit vectors as seen from the mean, if there is one."""
    rows = np.asarray(raw.vectors, dtype=np.float64)
    return normalise(rows if mean is None else rows - np.asarray(mean))


def _caps(gram: Float[np.ndarray, "K K"], cap: float, least: float) -> tuple[float, ...]:
    """Return the asked cap among others between the largest wanted cosine and the bound."""
    most = float((gram - 2 * np.eye(len(gram))).max())
    others = np.linspace(most, least, NUM_CAPS + 2)[1:-1].tolist()
    return (math.inf, *sorted({cap, *others}, reverse=True))
