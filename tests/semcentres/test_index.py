"""Tests of semcentres.index against a full sort of float64 scores."""

import tracemalloc
from pathlib import Path

# What it changes in faiss must not matter; pytorch-metric-learning imports it.
import faiss.contrib.torch_utils  # noqa: F401
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centre_builders.artefact import write_folder
from centre_builders.errors import CorruptArtefact, InputError
from semcentres.faiss_files import read_faiss
from semcentres.index import Index, nearest_centres


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(num: int, columns: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((num, columns)))


def by_hand(
    rows: np.ndarray, queries: np.ndarray, k: int, exclude: np.ndarray | None = None
) -> list[list[int]]:
    """Sort (-cosine, id) of every row, one query at a time, in float64."""
    answers = []
    for number, query in enumerate(queries.astype(np.float64)):
        scores = [(-float(row @ query), i) for i, row in enumerate(rows.astype(np.float64))]
        left_out = None if exclude is None else exclude[number]
        answers.append([i for _, i in sorted(scores) if i != left_out][:k])
    return answers


# Their cosines are exact in float32 and in float64, so that ties are ties in both.
EXACT = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)


AXES = np.eye(7, dtype=np.float32)


@st.composite
def searches(draw_: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    pick = st.integers(0, len(EXACT) - 1)
    rows = draw_(st.lists(pick, min_size=1, max_size=40))
    queries = draw_(st.lists(pick, min_size=1, max_size=6))
    exclude = draw_(
        st.lists(st.integers(0, len(rows) - 1), min_size=len(queries), max_size=len(queries))
    )
    return EXACT[rows], EXACT[queries], draw_(st.integers(1, 45)), np.array(exclude, np.int64)


@settings(max_examples=300, deadline=None)
@given(searches())
def test_equals_full_sort_with_ties(
    search: tuple[np.ndarray, np.ndarray, int, np.ndarray],
) -> None:
    rows, queries, k, _ = search
    found = Index.build(rows).search(queries, k)
    assert found.ids.tolist() == by_hand(rows, queries, k)
    assert found.cosines.tolist() == np.take_along_axis(queries @ rows.T, found.ids, 1).tolist()


@settings(max_examples=300, deadline=None)
@given(searches())
def test_leaves_exactly_one_out(search: tuple[np.ndarray, np.ndarray, int, np.ndarray]) -> None:
    rows, queries, k, exclude = search
    found = Index.build(rows).search(queries, k, exclude=exclude)
    assert found.ids.tolist() == by_hand(rows, queries, k, exclude)


@settings(max_examples=100, deadline=None)
@given(searches())
def test_is_a_prefix_of_a_longer_answer(
    search: tuple[np.ndarray, np.ndarray, int, np.ndarray],
) -> None:
    rows, queries, k, _ = search
    index = Index.build(rows)
    shorter, longer = index.search(queries, k), index.search(queries, k + 1)
    assert shorter.ids.tolist() == longer.ids[:, :k].tolist()


def test_equals_full_sort_without_ties() -> None:
    rows, queries = draw(203, 17, 0), draw(11, 17, 1)
    found = Index.build(rows).search(queries, 29)
    assert found.ids.tolist() == by_hand(rows, queries, 29)
    wanted = np.take_along_axis(
        queries.astype(np.float64) @ rows.T.astype(np.float64), found.ids, 1
    )
    np.testing.assert_allclose(found.cosines, wanted, atol=1e-6)
    assert (np.diff(found.cosines, axis=1) <= 0).all()


@pytest.fixture(scope="module")
def crowded() -> np.ndarray:
    """2,500 rows of 100 columns, half of them equal: many enough for groups of rows."""
    rows = draw(2500, 100, 2)
    rows[np.random.default_rng(3).permutation(2500)[:1250]] = rows[7]
    return rows


def test_equal_rows_come_by_id(crowded: np.ndarray) -> None:
    equal = np.flatnonzero((crowded == crowded[7]).all(axis=1))
    found = Index.build(crowded).search(crowded, 600)
    assert (found.ids[equal] == equal[:600]).all()


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_split_into_blocks_changes_no_bit(crowded: np.ndarray, block: int) -> None:
    index, queries = Index.build(crowded), crowded[:2000]
    whole = index.search(queries, 50)
    for rows, part in index.search_blocks(queries[: 40 * block], 50, block=block):
        assert (part.ids == whole.ids[rows]).all()
        assert (part.cosines == whole.cosines[rows]).all()
    assert rows.stop == min(40 * block, 2000)


def test_order_of_rows_changes_no_score(crowded: np.ndarray) -> None:
    order = np.random.default_rng(4).permutation(len(crowded))
    found = Index.build(crowded).search(crowded[:1500], 70)
    moved = Index.build(crowded[order]).search(crowded[:1500], 70)
    assert (found.cosines == moved.cosines).all()
    assert (crowded[found.ids] == crowded[order][moved.ids]).all()


def test_widening_in_small_parts_changes_nothing(
    crowded: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.build(crowded)
    whole = index.search(crowded, 3)
    monkeypatch.setattr("semcentres.exact_search.BUDGET", 1)
    assert (index.search(crowded, 3).ids == whole.ids).all()


@pytest.mark.parametrize("tile", [1, 100, 901])
def test_tiles_change_no_bit(
    crowded: np.ndarray, monkeypatch: pytest.MonkeyPatch, tile: int
) -> None:
    whole = Index.build(crowded).search(crowded[:50], 300)
    monkeypatch.setattr("semcentres.exact_search.TILE", tile)
    found = Index.build(crowded).search(crowded[:50], 300)
    assert (found.ids == whole.ids).all()
    assert (found.cosines == whole.cosines).all()


def test_writing_to_what_it_was_built_from_changes_nothing() -> None:
    rows = draw(41, 7, 8)
    index = Index.build(rows)
    found = index.search(AXES, 3)
    rows[:] = rows[::-1].copy()
    assert (index.search(AXES, 3).ids == found.ids).all()


class Proposer:
    """In place of a GPU: products in float64, of which half the queries get the worst rows."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows.astype(np.float64)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        products = queries.astype(np.float64) @ self._rows.T
        products[::2] *= -1
        ids = np.argsort(-products, axis=1)[:, :k]
        products[::2] *= -1
        return np.take_along_axis(products, ids, 1).astype(np.float32), ids


@pytest.mark.parametrize("k", [1, 40, 2500])
def test_gpu_only_chooses_candidates(crowded: np.ndarray, k: int) -> None:
    index = Index.build(crowded)
    whole = index.search(crowded[:100], k)
    index._gpu = Proposer(crowded)
    found = index.search(crowded[:100], k)
    assert (found.ids == whole.ids).all()
    assert (found.cosines == whole.cosines).all()


def test_nearest_centre_is_the_largest_product() -> None:
    embeddings, centres = draw(57, 6, 5), draw(9, 6, 6)
    found = nearest_centres(embeddings, centres)
    assert found.ids.shape == (57, 1)
    assert (found.ids[:, 0] == (embeddings @ centres.T).argmax(axis=1)).all()
    assert nearest_centres(embeddings, centres, k=4).ids.shape == (57, 4)


def test_nearest_centres_do_not_copy_the_centres() -> None:
    """A million of them may be mapped, and shared by the processes of a machine."""
    centres = draw(20_000, 256, 3)
    tracemalloc.start()
    nearest_centres(centres[:2], centres)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < centres.nbytes / 4


def test_no_query_gives_no_answer() -> None:
    assert Index.build(EXACT).search(EXACT[:0], 2).ids.shape == (0, 2)


def test_alone_in_the_index_has_no_neighbour() -> None:
    found = Index.build(EXACT[:1]).search(EXACT[:2], 3, exclude=np.array([0, 0]))
    assert found.ids.shape == (2, 0)


def test_save_and_load_give_the_same_neighbours(tmp_path: Path) -> None:
    index, queries = Index.build(draw(31, 5, 0)), draw(4, 5, 1)
    index.save(tmp_path / "index", {"encoder": "e1", "bank": "b1"})
    loaded = Index.load(tmp_path / "index", {"encoder": "e1"})
    assert (len(loaded), loaded.dimension) == (31, 5)
    kept, found = index.search(queries, 31), loaded.search(queries, 31)
    assert (kept.ids == found.ids).all()
    assert (kept.cosines == found.cosines).all()


def test_load_refuses_an_index_of_something_else(tmp_path: Path) -> None:
    Index.build(EXACT).save(tmp_path / "index", {"encoder": "e1", "bank": "b1"})
    with pytest.raises(InputError, match=r"encoder is 'e1', wanted 'e2'; data is None, wanted 'd'"):
        Index.load(tmp_path / "index", {"encoder": "e2", "bank": "b1", "data": "d"})


@pytest.mark.parametrize("place", [0, 4, 40, -1])
def test_load_refuses_a_changed_byte(tmp_path: Path, place: int) -> None:
    Index.build(EXACT).save(tmp_path / "index", {})
    path = tmp_path / "index" / "index.faiss"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtefact, match=r"index\.faiss"):
        Index.load(tmp_path / "index")


@pytest.mark.parametrize(
    ("place", "content", "cause"),
    [
        (0, b"garbage", "a part of kind b'garb'"),
        (8, (2**40).to_bytes(8, "little"), "ntotal"),
        # The length of the data, which FAISS would allocate before it reads them.
        (37, (2**20).to_bytes(8, "little"), "byte_limit"),
    ],
)
def test_reader_refuses_what_a_forger_hashed(
    tmp_path: Path, place: int, content: bytes, cause: str
) -> None:
    Index.build(EXACT).save(tmp_path / "index", {})
    path = tmp_path / "index" / "index.faiss"
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + content + whole[place + len(content) :])
    with pytest.raises(CorruptArtefact, match=r"index\.faiss") as refusal:
        read_faiss(path, faiss.IndexFlatIP)
    assert cause in str(refusal.value.__cause__)


def test_load_refuses_another_shape_than_said(tmp_path: Path) -> None:
    Index.build(EXACT).save(tmp_path / "index", {})
    with write_folder(tmp_path / "forged", about={"shape": [4, 3]}) as folder:
        (folder / "index.faiss").write_bytes((tmp_path / "index" / "index.faiss").read_bytes())
    with pytest.raises(CorruptArtefact, match=r"not of shape \[4, 3\]"):
        Index.load(tmp_path / "forged")


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (np.array([[1, 0], [np.nan, 0]]), "row 1 of the embeddings has length nan"),
        (np.array([[np.inf, 0], [1, 0]]), "row 0 of the embeddings has length inf"),
        (np.array([[1, 0], [0, 1], [0, 0]]), "row 2 of the embeddings has length 0"),
        (np.array([[1, 0], [0, 1.002]]), "row 1 of the embeddings has length 1.002"),
        (np.empty((0, 2)), "no rows"),
    ],
)
def test_build_refuses(rows: np.ndarray, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        Index.build(rows.astype(np.float32))


@pytest.mark.parametrize(
    ("queries", "k", "exclude", "fault"),
    [
        (draw(2, 300, 0), 1, None, "queries have 300 columns, the index 3;"),
        (EXACT, 0, None, "k must be at least 1, got 0"),
        (EXACT, -1, None, "k must be at least 1, got -1"),
        (EXACT * 2, 1, None, "row 0 of the queries has length 2"),
        (EXACT, 1, np.zeros(4, np.int64), "exclude has 4 ids for 5 queries"),
        (EXACT[:2], 1, np.array([0, 5]), "exclude holds 5, .* 0 to 4"),
        (EXACT[:2], 1, np.array([0, -1]), "exclude holds -1, .* 0 to 4"),
    ],
)
def test_search_refuses(
    queries: np.ndarray, k: int, exclude: np.ndarray | None, fault: str
) -> None:
    index = Index.build(EXACT)
    for search in (index.search, index.search_blocks):
        with pytest.raises(InputError, match=fault):
            search(queries, k, exclude=exclude)
