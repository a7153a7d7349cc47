"""R8: neighbours keep their contract, against NumPy that compares all pairs.

One trial is one example of each of six properties, drawn by Hypothesis.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

# torch comes first: both bring an OpenMP of their own.
import torch  # noqa: F401  # isort: skip
import faiss
import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from centre_builders.errors import InputError
from semcentres.approximate import build_index
from semcentres.neighbours import Neighbours

GOAL = "6 properties: 0 failures; all 6 fail of FAISS's own search"
KINDS = ("flat", "flat", "flat", "ivf", "hnsw")
BAD = (0.0, np.nan, np.inf, -np.inf, 1e38)


@dataclass(frozen=True)
class Case:
    """What is searched, and for what.

    Args:
        kind: of index.
        rows: [N D] unit; in half of the cases products are exact in float32, and ties many.
        queries: [Q D] likewise.
        k: perhaps more than N.
        exact: whether products are exact.
        seed: of further draws.
    """

    kind: str
    rows: np.ndarray
    queries: np.ndarray
    k: int
    exact: bool
    seed: int


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return which properties fail in `trials` examples of each, of our index and of FAISS's."""
    ours, naive = (
        {check.__name__: _failure(check, build, trials, seed) for check in PROPERTIES}
        for build in (_ours, _Naive)
    )
    failed = [name for name, fault in ours.items() if fault]
    toothed = [name for name, fault in naive.items() if fault]
    measured = {"examples": trials * len(PROPERTIES), "failures": len(failed), **ours}
    told = {"failures": len(toothed), **naive}
    passed = not failed and len(toothed) == len(PROPERTIES)
    return {"goal": GOAL, "measured": measured, "naive": told, "passed": passed}


def _failure(check: Callable, build: Callable, trials: int, seed: int) -> str | None:
    @settings(
        max_examples=trials,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @hypothesis.seed(seed)
    @given(CASES)
    def attempt(case: Case) -> None:
        check(build(case), case)

    try:
        attempt()
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return None


def _case(kind: str, num: int, width: int, num_queries: int, k: int, seed: int) -> Case:  # noqa: PLR0913
    rng = np.random.default_rng(seed)
    exact = seed % 2 == 0

    def draw(count: int) -> np.ndarray:
        if exact:
            # Entries of +-1/2 or +-1/4: every product is exact, in whatever order it is summed.
            return (rng.integers(0, 2, (count, width)) * 2 - 1) / np.float32(width**0.5)
        rows = rng.normal(size=(count, width))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    rows = draw(num * (1 if kind == "flat" else 6)).astype(np.float32)
    rows = rows[rng.integers(0, len(rows), len(rows))] if seed % 3 == 0 else rows  # duplicates
    return Case(kind, rows, draw(num_queries).astype(np.float32), k, exact, seed)


CASES = st.builds(
    _case,
    kind=st.sampled_from(KINDS),
    num=st.integers(1, 40),
    width=st.sampled_from([4, 16]),
    num_queries=st.integers(1, 6),
    k=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
)


def _ours(case: Case) -> Any:  # noqa: ANN401
    return build_index(case.rows, kind=case.kind, recall=0.3)


class _Naive:
    """FAISS as it is commonly called."""

    def __init__(self, case: Case) -> None:
        self._index = faiss.IndexFlatIP(case.rows.shape[1])
        self._index.add(case.rows)

    def search(self, queries: np.ndarray, k: int, exclude: np.ndarray | None = None) -> Neighbours:
        cosines, ids = self._index.search(queries, k + (exclude is not None))
        # "The first is the query itself", as retrieval code has it.
        return (
            Neighbours(ids, cosines) if exclude is None else Neighbours(ids[:, 1:], cosines[:, 1:])
        )


def order_and_values(index: Any, case: Case) -> None:  # noqa: ANN401
    """Falling cosine, equal cosines by rising id; exact search finds what NumPy finds."""
    found, k = index.search(case.queries, case.k), min(case.k, len(case.rows))
    scores = case.queries.astype(np.float64) @ case.rows.astype(np.float64).T
    assert found.ids.shape == found.cosines.shape == (len(case.queries), k)
    assert (np.lexsort((found.ids, -found.cosines), axis=1) == np.arange(k)).all()
    taken = np.take_along_axis(scores, found.ids, axis=1)
    np.testing.assert_allclose(found.cosines, taken, atol=1e-6)
    if case.kind == "flat" and case.exact:
        wanted = np.lexsort((np.broadcast_to(np.arange(len(case.rows)), scores.shape), -scores))
        np.testing.assert_array_equal(found.ids, wanted[:, :k])
    elif case.kind == "flat":
        np.testing.assert_allclose(taken, -np.sort(-scores, axis=1)[:, :k], atol=1e-6)


def each_id_once(index: Any, case: Case) -> None:  # noqa: ANN401
    """No -1, no id twice, k cut to the number of rows."""
    ids = index.search(case.queries, case.k).ids
    assert ids.shape[1] == min(case.k, len(case.rows))
    assert ids.min() >= 0
    assert ids.max() < len(case.rows)
    assert all(len(set(row)) == len(row) for row in ids.tolist())


def prefix(index: Any, case: Case) -> None:  # noqa: ANN401
    """The first k - 1 of k are the first k - 1; of an exact index."""
    if case.kind != "flat" or case.k == 1:
        return
    less, more = (index.search(case.queries, k) for k in (case.k - 1, case.k))
    num = less.ids.shape[1]
    np.testing.assert_array_equal(less.ids, more.ids[:, :num])
    np.testing.assert_array_equal(less.cosines, more.cosines[:, :num])
    assert more.ids.min() >= 0


def permutation(index: Any, case: Case) -> None:  # noqa: ANN401
    """Another order of rows or queries changes no bit of a cosine; of an exact index."""
    if case.kind != "flat":
        return
    rng = np.random.default_rng(case.seed)
    rows, asked = rng.permutation(len(case.rows)), rng.permutation(len(case.queries))
    moved = Case(case.kind, case.rows[rows], case.queries[asked], case.k, case.exact, case.seed)
    before, after = (
        index.search(case.queries, case.k),
        type_of(index)(moved).search(moved.queries, case.k),
    )
    np.testing.assert_array_equal(before.cosines[asked], after.cosines)
    # Of rows that tie, the one of the lower id comes first in both.
    ties = np.diff(after.cosines, axis=1) == 0
    assert (np.diff(after.ids, axis=1)[ties] > 0).all()


def batches(index: Any, case: Case) -> None:  # noqa: ANN401
    """A query's answer has the same bits alone and among others."""
    whole = index.search(case.queries, case.k)
    alone = [index.search(query[None], case.k) for query in case.queries]
    np.testing.assert_array_equal(whole.ids, np.concatenate([one.ids for one in alone]))
    np.testing.assert_array_equal(whole.cosines, np.concatenate([one.cosines for one in alone]))
    assert whole.ids.min() >= 0


def refusals_and_exclusion(index: Any, case: Case) -> None:  # noqa: ANN401
    """Rows and queries that are no unit vectors are refused; an excluded id is in no answer."""
    rng = np.random.default_rng(case.seed)
    row, bad = rng.integers(len(case.rows)), BAD[rng.integers(len(BAD))]
    spoilt, query = case.rows.copy(), case.queries.copy()
    spoilt[row] = query[0] = bad
    for attempt in (
        partial(type_of(index), Case(case.kind, spoilt, query, case.k, case.exact, case.seed)),
        partial(index.search, query, case.k),
        partial(index.search, case.queries, 0),
    ):
        try:
            attempt()
        except InputError:
            continue
        raise AssertionError(f"{bad} was taken")
    exclude = rng.integers(len(case.rows), size=len(case.queries))
    assert not (index.search(case.queries, case.k, exclude=exclude).ids == exclude[:, None]).any()


def type_of(index: Any) -> Callable[[Case], Any]:  # noqa: ANN401
    """Return what builds such an index."""
    return _Naive if isinstance(index, _Naive) else _ours


PROPERTIES = (
    order_and_values, each_id_once, prefix, permutation, batches, refusals_and_exclusion,
)  # fmt: skip
