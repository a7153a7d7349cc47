"""What a bank of centres looks like: cosines, nearest pairs, the soft-min's safe temperature.

Dimensions: K centres, d width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from centre_builders.sphere import BLOCK, largest_cosine

MAX_STARTS = 2_000
WORK = 4_000_000  # pairs of start and centre, so that a very large bank has fewer starts
MANY = 30_000  # centres; above, pairs are looked for from a sample
ITERATIONS = 500
SAME = 1 - 1e-6
ROUNDING = 1e-4  # of a cosine in float32
LOWEST, HIGHEST = 1e-4, 8.0


@dataclass(frozen=True)
class Geometry:
    """A bank in numbers.

    Args:
        mean_cosine: over all pairs of different centres.
        max_cosine: the largest of a pair.
        nearest_pairs: names and cosine of the nearest pairs, nearest first.
        safe_temperature: see `safe_temperature`.
        num_starts: centres from which it was computed; fewer than K for a large bank.
        sampled: whether the pairs were looked for from a sample of the centres only.
    """

    mean_cosine: float
    max_cosine: float
    nearest_pairs: tuple[tuple[str, str, float], ...]
    safe_temperature: float
    num_starts: int
    sampled: bool = False


def describe(
    vectors: Float[np.ndarray, "K d"], names: Sequence[str], *, num_pairs: int = 5
) -> Geometry:
    """Return the geometry of unit centres; memory grows with K and not with K squared."""
    num = len(vectors)
    unit = np.asarray(vectors, dtype=np.float64) if num <= MANY else vectors
    total = unit.sum(axis=0, dtype=np.float64)
    # The sum over ordered pairs i != j of c_i . c_j is |sum c|^2 - K.
    mean = (total @ total - num) / (num * (num - 1)) if num > 1 else 0.0
    pairs = nearest_pairs(unit, num_pairs)
    return Geometry(
        mean_cosine=float(mean),
        max_cosine=pairs[0][2] if pairs else -1.0,
        nearest_pairs=tuple((names[i], names[j], cosine) for i, j, cosine in pairs),
        safe_temperature=safe_temperature(unit),
        num_starts=len(_starts(num)),
        sampled=num > MANY,
    )


def nearest_pairs(unit: Float[np.ndarray, "K d"], num_pairs: int) -> list[tuple[int, int, float]]:
    """Return the pairs (i, j, cosine), i < j, of largest cosine, largest first.

    For more than 30,000 rows, one of each pair is from a seeded sample of 2,000.
    """
    num = len(unit)
    rows = np.arange(num) if num <= MANY else _sample(num, MAX_STARTS)
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(rows), BLOCK):
        chosen = rows[start : start + BLOCK]
        for column in range(0 if num > MANY else start, num, BLOCK):
            cosines = unit[chosen] @ unit[column : column + BLOCK].T
            cosines[chosen[:, None] == np.arange(column, column + cosines.shape[1])] = -np.inf
            flat = cosines.ravel()
            # Twice as many, because both orders of a pair may be met.
            best = np.argpartition(flat, -min(2 * num_pairs, flat.size))[-2 * num_pairs :]
            for i, j in zip(*np.unravel_index(best, cosines.shape), strict=True):
                pair = sorted((int(chosen[i]), column + int(j)))
                if np.isfinite(cosines[i, j]):
                    found[pair[0], pair[1]] = float(cosines[i, j])
        best_pairs = sorted(found, key=lambda pair: -found[pair])[:num_pairs]
        found = {pair: found[pair] for pair in best_pairs}
    return [(i, j, cosine) for (i, j), cosine in found.items()]


def coinciding(unit: Float[np.ndarray, "K d"]) -> tuple[int, int] | None:
    """Return two rows with a cosine above 1 - 1e-6, None where there are none.

    For more than 30,000 rows, only rows that are equal up to rounding are found.
    """
    if len(unit) <= MANY:
        # A quick look first, for every bank that is read is asked.
        if largest_cosine(unit.astype(np.float32, copy=False)) < SAME - ROUNDING:
            return None
        nearest = nearest_pairs(unit.astype(np.float64), 1)
        return nearest[0][:2] if nearest and nearest[0][2] > SAME else None
    # Equal rows have equal projections, so they stand side by side when sorted by them.
    line = np.random.default_rng(0).standard_normal(unit.shape[1], dtype=np.float32)
    # Not a matrix product, whose last bits depend on where a row stands.
    order = np.argsort(np.einsum("kd,d->k", unit, line))
    for start in range(0, len(order) - 1, BLOCK):
        rows = order[start : start + BLOCK + 1]
        cosines = np.einsum("kd,kd->k", unit[rows[:-1]], unit[rows[1:]], dtype=np.float64)
        if cosines.max(initial=-1.0) > SAME:
            place = int(cosines.argmax())
            first, second = sorted(map(int, rows[place : place + 2]))
            return first, second
    return None


def safe_temperature(vectors: Float[np.ndarray, "K d"]) -> float:
    r"""Return the highest temperature at which every centre attracts its own neighbourhood.

    Where the gradient of the soft-min vanishes on the sphere, the mean-shift map

        z <- normalise( sum_j p_j(z) c_j ),      p(z) = softmax(2 C z / t)

    is at rest. Started at each centre, slightly perturbed, it must end where that centre is the
    nearest and has a cosine of at least 0.9. Found by bisection in log t.

    Returns:
        A temperature in squared distance; 0 where even the lowest is too high (two centres
        coincide), 8 where the highest tried is safe (a single centre). For more than 2,000
        centres the starts are a seeded sample, smaller for a larger bank.
    """
    unit = np.asarray(vectors, dtype=np.float64) if len(vectors) <= MANY else vectors
    starts = _starts(len(unit))
    nudge = 1e-3 * np.random.default_rng(0).standard_normal((len(starts), unit.shape[1]))
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
        _attract(unit, starts[i : i + BLOCK], nudge[i : i + BLOCK], temperature)
        for i in range(0, len(starts), BLOCK)
    )


def _attract(
    unit: Float[np.ndarray, "K d"],
    rows: np.ndarray,
    nudge: Float[np.ndarray, "S d"],
    temperature: float,
) -> bool:
    """Return whether the mean-shift map leads back to all of these centres.

    It climbs steadily, so a start that has left its centre is given up, and one that rests is
    not moved further.
    """
    # In the rows' own precision, or numpy would copy a very large bank at every product.
    z = _unit(unit[rows] + nudge).astype(unit.dtype)
    tolerance = 1e-9 if unit.dtype == np.float64 else 1e-6
    for step in range(ITERATIONS):
        cosines = z @ unit.T
        each = np.arange(len(rows))
        nearest, own = cosines.argmax(axis=1), cosines[each, rows]
        # The nudge alone may take the start of a wide bank further than it then comes to rest.
        if step > 1 and ((nearest != rows) | (own < 0.9)).any():
            return False
        moved = _unit(np.exp((2 / temperature) * (cosines - cosines[each, nearest, None])) @ unit)
        moving = np.abs(moved - z).max(axis=1) >= tolerance
        if not moving.any() and step > 1:
            return True
        if step > 1:
            moved, rows = moved[moving], rows[moving]
        z = moved
    return True


def _starts(num: int) -> np.ndarray:
    """Return the centres that the safe temperature is computed from."""
    return _sample(num, min(MAX_STARTS, max(8, WORK // num)))


def _sample(num: int, size: int) -> np.ndarray:
    """Return so many rows, all of them where there are no more; always the same."""
    if num <= size:
        return np.arange(num)
    return np.sort(np.random.default_rng(0).choice(num, size, replace=False))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # Where opposite centres cancel, the map has no direction: stay at 0, which is no centre.
    return np.asarray(vectors / np.maximum(lengths, 1e-12))
