"""Tests of semcentres.exact_search against a sort of all scores that FAISS gives pair by pair."""

from collections.abc import Callable

import faiss
import numpy as np
import pytest

from semcentres.exact_search import error_bound, nearest, nearest_among, pack, unpack
from semcentres.index import Index
from semcentres.neighbours import LONGEST


def clustered(
    num: int, columns: int, *, spread: float, seed: int, num_equal: int = 0
) -> np.ndarray:
    """Unit rows around 20 centres, some of them equal to row 7."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((20, columns))
    rows = centres[rng.integers(0, 20, num)] + spread * rng.standard_normal((num, columns))
    rows[rng.permutation(num)[:num_equal]] = rows[7]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def by_faiss(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every score of FAISS's flat index, without BLAS, sorted by (-score, id)."""
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    scores, ids = flat.search(queries, len(rows))
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)


def assert_same_bits(found: tuple[np.ndarray, ...], wanted: tuple[np.ndarray, np.ndarray]) -> None:
    assert (found[0] == wanted[0]).all()
    assert (found[1].view(np.int32) == wanted[1].view(np.int32)).all()


def search(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    return nearest(rows, queries, k, Index.build(rows).score, LONGEST)


@pytest.mark.parametrize(
    ("num", "columns", "k", "spread", "num_equal"),
    [
        (3001, 64, 20, 0.5, 0),
        (3001, 64, 20, 0.5, 1500),
        # Its cosines differ by less than the error of a product.
        (3001, 200, 11, 0.001, 40),
        (3001, 17, 1, 0.0, 0),
        (2999, 31, 300, 0.3, 301),
        (2003, 8, 2003, 0.3, 5),
        (13, 5, 4, 0.3, 3),
    ],
)
def test_has_the_bits_and_the_order_of_faiss(
    num: int, columns: int, k: int, spread: float, num_equal: int
) -> None:
    rows = clustered(num, columns, spread=spread, seed=1, num_equal=num_equal)
    queries = clustered(201, columns, spread=spread, seed=2)
    queries[:50] = rows[np.resize(np.arange(num), 50)]
    assert_same_bits(search(rows, queries, k), by_faiss(rows, queries, k))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("GROUP", 1), ("GROUP", 7), ("EXTRA", 1), ("EXTRA", 100), ("FEW", 1), ("FEW", 40)],
        *[("TILE", 1), ("TILE", 100), ("BLOCK", 1), ("BLOCK", 67), ("BUDGET", 1), ("BUDGET", 9000)],
    ],
)
def test_sizes_change_no_bit(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clustered(1777, 19, spread=0.05, seed=3, num_equal=200)
    queries = clustered(101, 19, spread=0.05, seed=4)
    wanted = by_faiss(rows, queries, 9)
    monkeypatch.setattr(f"semcentres.exact_search.{name}", value)
    assert_same_bits(search(rows, queries, 9), wanted)


def counted(score: Callable[..., np.ndarray]) -> tuple[Callable[..., np.ndarray], list[int]]:
    sizes: list[int] = []

    def counting(queries: np.ndarray, ids: np.ndarray) -> np.ndarray:
        sizes.append(ids.size)
        return score(queries, ids)

    return counting, sizes


def test_scores_few_pairs() -> None:
    rows, queries = (clustered(n, 24, spread=0.5, seed=n) for n in (20_000, 300))
    score, sizes = counted(Index.build(rows).score)
    nearest(rows, queries, 10, score, LONGEST)
    assert sum(sizes) <= 300 * 20_000 / 50


def test_wrong_products_are_not_trusted_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products off by just less than the bound, against the true order, change nothing."""
    rows, queries = (clustered(n, 40, spread=0.005, seed=n) for n in (8000, 60))
    wanted, margin, signs = (
        by_faiss(rows, queries, 6),
        error_bound(40, 1.0),
        np.random.default_rng(5),
    )
    exact = np.matmul

    def perturbed(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> np.ndarray:
        exact(left, right, out=out)
        out += np.float32(0.9 * margin) * signs.choice([-1, 1], out.shape).astype(np.float32)
        return out

    monkeypatch.setattr(np, "matmul", perturbed)
    monkeypatch.setattr("semcentres.exact_search.EXTRA", 1)
    assert_same_bits(search(rows, queries, 6), wanted)


def test_error_bound_holds_for_sums_in_any_order() -> None:
    rng = np.random.default_rng(6)
    for columns in (3, 50, 700):
        left, right = (rng.standard_normal((500, columns)).astype(np.float32) for _ in range(2))
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        right = np.sign(left) * np.abs(right) / np.linalg.norm(right, axis=1, keepdims=True)
        terms = (left * right).astype(np.float32)
        orders = (np.arange(columns), rng.permutation(columns), terms.mean(axis=0).argsort())
        sums = [np.add.accumulate(terms[:, order], axis=1)[:, -1] for order in orders]
        apart = np.ptp(np.array([*sums, (left * right).sum(axis=1)]).astype(np.float64), axis=0)
        assert apart.max() <= error_bound(columns, 1.0)
    assert error_bound(1000, 1.0) == pytest.approx(2000 * 2.0**-24, rel=1e-4)
    assert error_bound(1000, 3.0) == pytest.approx(9 * error_bound(1000, 1.0))


def test_candidates_that_leave_the_best_out_are_not_proven() -> None:
    rows, queries = (clustered(n, 12, spread=0.5, seed=n) for n in (500, 8))
    queries = queries[:3]
    ids, scores = by_faiss(rows, queries, 30)
    left_out = np.delete(ids, 4, axis=1)
    # What is left out: the 21st, the 5th, and one that is just as good as the last.
    candidates = np.stack([ids[0, :20], left_out[1, :20], ids[2, :20]])
    bounds = np.array([scores[0, 20], scores[1, 4], scores[2, 5]])
    score = Index.build(rows).score
    found = nearest_among(candidates, bounds, queries, 6, score, LONGEST)
    assert found[2].tolist() == [True, False, False]
    assert_same_bits((found[0][::2], found[1][::2]), (ids[::2, :6], scores[::2, :6]))


def test_keys_rise_where_scores_fall_then_with_ids() -> None:
    values = np.array([[1.0, 1e-45, 0.0, -1e-45, -0.5, -1.001]], np.float32)
    ids = np.array([[0, 2**32 - 1, 3, 2, 1, 5]])
    keys = pack(values, ids)
    assert (np.diff(keys) > 0).all()
    assert unpack(keys)[0].tolist() == ids.tolist()
    assert unpack(keys)[1].tolist() == values.tolist()
    zeros = pack(np.array([[-0.0, 0.0]], np.float32), np.array([[1, 2]]))
    assert (np.diff(zeros) == 1).all()
