"""What separating centres costs in fidelity to wanted cosines: the optimiser and its curve.

Dimensions: K centres, n of them movable, k fixed, m = n + k, d width.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh
from scipy.stats import spearmanr

from centre_builders.spreading import minimise_on_sphere, one_thread

PENALTY = 30.0
ROUNDS = 6
MOST_ROUNDS = 30  # where the cap is not yet met
MET = 0.005  # above the cap, in cosine
STEPS = 15
FLAT = 1e-4  # cosines that differ by less have no order


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point of the trade-off between wanted angles and separation.

    Args:
        cap: asked largest cosine; None asks for none.
        largest_cosine: that was reached.
        gram_error: root mean square over pairs of cosine - wanted cosine.
        rank_correlation: Spearman's, of the pairs' cosines with the wanted ones; None where
            either are all alike.
    """

    cap: float | None
    largest_cosine: float
    gram_error: float
    rank_correlation: float | None


def trade_off(
    gram: Float[np.ndarray, "K K"],
    dimension: int,
    *,
    caps: Sequence[float],
    seed: int,
    steps: int = STEPS,
) -> tuple[Point, ...]:
    """Return what separation costs in fidelity, from no cap down to the tightest.

    Args:
        gram: wanted cosines, symmetric; it need not be positive semi-definite.
        dimension: d.
        caps: largest cosines to ask for.
        seed: of the small noise that tells equal rows apart.
        steps: of the optimiser in each round.

    Returns:
        The point without a cap, then one a cap, the largest first.
    """
    found = fit_gram(gram, dimension, (math.inf, *sorted(caps, reverse=True)), seed, steps)
    return tuple(measure(rows, gram, cap) for cap, rows in found)


def fit_gram(
    gram: Float[np.ndarray, "K K"], dimension: int, caps: Sequence[float], seed: int, steps: int
) -> Iterator[tuple[float, Float[np.ndarray, "K d"]]]:
    """Yield each cap and its rows, started at the best rank-d factor of the wanted cosines."""
    rank = min(dimension, len(gram))
    values, vectors = eigh(gram, subset_by_index=(len(gram) - rank, len(gram) - 1))
    factor = vectors * np.sqrt(values.clip(0))
    start = np.pad(factor, ((0, 0), (0, dimension - rank)))
    rows = nudge(start, np.random.default_rng(seed))
    yield from follow(rows, np.empty((0, dimension)), gram, caps, steps)


def nudge(rows: Float[np.ndarray, "n d"], rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """Return rows that are not equal and lie in no subspace, so that forces can part them."""
    return rows + 0.01 * rng.standard_normal(rows.shape)


def follow(
    rows: Float[np.ndarray, "n d"],
    fixed: Float[np.ndarray, "k d"],
    wanted: Float[np.ndarray, "n m"],
    caps: Sequence[float],
    steps: int,
) -> Iterator[tuple[float, Float[np.ndarray, "n d"]]]:
    """Yield each cap and its rows, started from those of the cap before.

    By the augmented Lagrangian (Nocedal & Wright 2006, algorithm 17.4), which meets the cap
    without a steep penalty; `slack` holds the multipliers over the penalty.
    """
    slack = np.zeros(wanted.shape)
    np.fill_diagonal(slack, -np.inf)  # a row is not kept from itself
    for cap in caps:
        with one_thread():
            for done in range(1, MOST_ROUNDS + 1):
                objective = partial(_objective, fixed=fixed, wanted=wanted, shift=slack - cap)
                rows = minimise_on_sphere(objective, rows, steps)
                excess = rows @ np.concatenate([rows, fixed]).T - cap
                np.fill_diagonal(excess, -np.inf)
                slack += excess
                np.maximum(slack, 0, out=slack)
                np.fill_diagonal(slack, -np.inf)
                if done >= ROUNDS and excess.max() <= MET:
                    break
        yield cap, rows


def _objective(
    unit: Float[np.ndarray, "n d"],
    *,
    fixed: Float[np.ndarray, "k d"],
    wanted: Float[np.ndarray, "n m"],
    shift: Float[np.ndarray, "n m"],
) -> tuple[float, Float[np.ndarray, "n d"]]:
    """Return the mean over pairs of error^2 + penalty * excess^2, and its gradient."""
    others, num = np.concatenate([unit, fixed]), len(unit)
    error = unit @ others.T
    excess = error + shift
    np.maximum(excess, 0, out=excess)
    error -= wanted
    np.fill_diagonal(error, 0)
    pairs = num * (num - 1) / 2 + num * len(fixed)
    # A pair of two movable rows is met from both ends.
    total = _squares(error) - _squares(error[:, :num]) / 2
    total += PENALTY * (_squares(excess) - _squares(excess[:, :num]) / 2)
    excess *= PENALTY
    excess += error
    return total / pairs, (2 / pairs) * (excess @ others)


def _squares(values: Float[np.ndarray, "n m"]) -> float:
    return float(np.einsum("nm,nm->", values, values))


def measure(unit: Float[np.ndarray, "K d"], gram: Float[np.ndarray, "K K"], cap: float) -> Point:
    """Return how far apart the rows are, and how near their cosines are to the wanted ones."""
    pairs = np.triu_indices(len(unit), 1)
    cosines, wanted = (unit @ unit.T)[pairs], gram[pairs]
    ordered = min(np.ptp(cosines), np.ptp(wanted)) > FLAT
    return Point(
        cap=cap if math.isfinite(cap) else None,
        largest_cosine=float(cosines.max()),
        gram_error=float(np.sqrt(np.mean((cosines - wanted) ** 2))),
        rank_correlation=float(spearmanr(cosines, wanted).statistic) if ordered else None,
    )
