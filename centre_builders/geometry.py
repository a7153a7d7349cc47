"""What a bank of centres looks like: cosines, nearest pairs, the soft-min's safe temperature.

Dimensions: K centres, d width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from centre_builders.sphere import BLOCK

MAX_STARTS = 2_000
ITERATIONS = 500
LOWEST, HIGHEST = 1e-4, 8.0


@dataclass(frozen=True)
class Geometry:
    """A bank in numbers.

    Args:
        mean_cosine: over all pairs of different centres.
        max_cosine: the largest of a pair.
        nearest_pairs: names and cosine of the nearest pairs, nearest first.
        safe_temperature: see `safe_temperature`.
        num_starts: centres from which it was computed; fewer than K for a very large bank.
    """

    mean_cosine: float
    max_cosine: float
    nearest_pairs: tuple[tuple[str, str, float], ...]
    safe_temperature: float
    num_starts: int


def describe(
    vectors: Float[np.ndarray, "K d"], names: Sequence[str], *, num_pairs: int = 5
) -> Geometry:
    """Return the geometry of unit centres; memory grows with K and not with K squared."""
    unit = np.asarray(vectors, dtype=np.float64)
    num = len(unit)
    total = unit.sum(axis=0)
    # The sum over ordered pairs i != j of c_i . c_j is |sum c|^2 - K.
    mean = (total @ total - num) / (num * (num - 1)) if num > 1 else 0.0
    pairs = nearest_pairs(unit, num_pairs)
    starts = min(num, MAX_STARTS)
    return Geometry(
        mean_cosine=float(mean),
        max_cosine=pairs[0][2] if pairs else -1.0,
        nearest_pairs=tuple((names[i], names[j], cosine) for i, j, cosine in pairs),
        safe_temperature=safe_temperature(unit),
        num_starts=starts,
    )


def nearest_pairs(unit: Float[np.ndarray, "K d"], num_pairs: int) -> list[tuple[int, int, float]]:
    """Return the pairs (i, j, cosine), i < j, of largest cosine, largest first."""
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(unit), BLOCK):
        cosines = unit[start : start + BLOCK] @ unit[start:].T
        cosines[np.tril(np.ones(cosines.shape, dtype=bool))] = -np.inf
        flat = cosines.ravel()
        best = np.argpartition(flat, -min(num_pairs, flat.size))[-num_pairs:]
        rows, columns = np.unravel_index(best, cosines.shape)
        found += [
            (start + int(i), start + int(j), float(cosines[i, j]))
            for i, j in zip(rows, columns, strict=True)
            if np.isfinite(cosines[i, j])
        ]
        found = sorted(found, key=lambda pair: -pair[2])[:num_pairs]
    return found


def safe_temperature(vectors: Float[np.ndarray, "K d"]) -> float:
    r"""Return the highest temperature at which every centre attracts its own neighbourhood.

    Where the gradient of the soft-min vanishes on the sphere, the mean-shift map

        z <- normalise( sum_j p_j(z) c_j ),      p(z) = softmax(2 C z / t)

    is at rest. Started at each centre, slightly perturbed, it must end where that centre is the
    nearest and has a cosine of at least 0.9. Found by bisection in log t.

    Returns:
        A temperature in squared distance; 0 where even the lowest is too high (two centres
        coincide), 8 where the highest tried is safe (a single centre). For more than 2,000
        centres the starts are a seeded sample of 2,000.
    """
    unit = np.asarray(vectors, dtype=np.float64)
    rng = np.random.default_rng(0)
    starts = np.arange(len(unit))
    if len(unit) > MAX_STARTS:
        starts = np.sort(rng.choice(len(unit), MAX_STARTS, replace=False))
    nudge = 1e-3 * rng.standard_normal((len(starts), unit.shape[1]))
    if not _holds(unit, starts, nudge, LOWEST):
        return 0.0
    if _holds(unit, starts, nudge, HIGHEST):
        return HIGHEST
    low, high = np.log(LOWEST), np.log(HIGHEST)
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if _holds(unit, starts, nudge, np.exp(middle)) else (low, middle)
    return float(np.exp(low))


def _holds(
    unit: Float[np.ndarray, "K d"],
    starts: np.ndarray,
    nudge: Float[np.ndarray, "S d"],
    temperature: float,
) -> bool:
    return all(
        _attracted(unit, starts[i : i + BLOCK], nudge[i : i + BLOCK], temperature).all()
        for i in range(0, len(starts), BLOCK)
    )


def _attracted(
    unit: Float[np.ndarray, "K d"],
    rows: np.ndarray,
    nudge: Float[np.ndarray, "S d"],
    temperature: float,
) -> Bool[np.ndarray, " S"]:
    """Return which centres the mean-shift map leads back to."""
    z = _unit(unit[rows] + nudge)
    for _ in range(ITERATIONS):
        cosines = z @ unit.T
        weights = np.exp((2 / temperature) * (cosines - cosines.max(axis=1, keepdims=True)))
        moved = _unit(weights @ unit)
        change = np.abs(moved - z).max()
        z = moved
        if change < 1e-9:
            break
    cosines = z @ unit.T
    return np.asarray((cosines.argmax(axis=1) == rows) & ((z * unit[rows]).sum(axis=1) >= 0.9))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # Where opposite centres cancel, the map has no direction: stay at 0, which is no centre.
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
