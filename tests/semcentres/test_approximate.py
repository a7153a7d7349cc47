"""Tests of semcentres.approximate against exact search, on values."""

import logging
from inspect import unwrap
from pathlib import Path

import faiss
import numpy as np
import pytest

from centre_builders.errors import CorruptArtefact, InputError
from semcentres import approximate
from semcentres.approximate import Kind, build_index
from semcentres.approximate_index import ApproximateIndex
from semcentres.index import Index


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(num: int, seed: int, *, columns: int = 16) -> np.ndarray:
    """Unit rows around 30 centres that every seed shares."""
    centres = np.random.default_rng(0).standard_normal((30, columns))
    rng = np.random.default_rng(seed)
    return unit(centres[rng.integers(0, 30, num)] + 0.4 * rng.standard_normal((num, columns)))


def built(rows: np.ndarray, kind: Kind, **wanted: float) -> ApproximateIndex:
    index = build_index(rows, kind=kind, **wanted)  # type: ignore[arg-type]
    assert isinstance(index, ApproximateIndex)
    return index


def recall_by_hand(found: np.ndarray, rows: np.ndarray, queries: np.ndarray) -> float:
    """The part of found rows at least as near as the k-th of a full sort in float64."""
    cosines = queries.astype(np.float64) @ rows.astype(np.float64).T
    last = np.sort(cosines, axis=1)[:, -found.shape[1]]
    return float((np.take_along_axis(cosines, found, 1) >= last[:, None] - 1e-7).mean())


KINDS: tuple[Kind, ...] = ("ivf", "hnsw")


@pytest.fixture(scope="module", params=KINDS)
def index(request: pytest.FixtureRequest) -> ApproximateIndex:
    return built(clustered(5003, 1), request.param, recall=0.9, k=7)


def test_finds_what_exact_search_finds(index: ApproximateIndex) -> None:
    rows, queries = clustered(5003, 1), clustered(211, 2)
    found = index.search(queries, 7)
    assert recall_by_hand(found.ids, rows, queries) >= 0.85
    exact = np.einsum("qd,qkd->qk", queries.astype(np.float64), rows[found.ids])
    np.testing.assert_allclose(found.cosines, exact, atol=1e-6)
    assert (np.diff(found.cosines, axis=1) <= 0).all()
    assert (np.diff(np.sort(found.ids, axis=1), axis=1) > 0).all()


def test_says_the_recall_of_rows_before_they_were_added() -> None:
    rows = clustered(5003, 1)
    index = built(rows, "ivf", recall=0.9, k=7)
    assert (index.recall.k, index.recall.num_rows) == (7, approximate.SAMPLE)
    sample = np.random.default_rng(approximate.SEED).permutation(5003)[: approximate.SAMPLE]
    found = index.search(rows[sample], 40).ids
    unseen = np.array([ids[~np.isin(ids, sample)][:7] for ids in found])
    cosines = rows[sample].astype(np.float64) @ rows.astype(np.float64).T
    cosines[:, sample] = -2
    last = np.sort(cosines, axis=1)[:, -7, None]
    wanted = float((np.take_along_axis(cosines, unseen, 1) >= last - 1e-7).mean())
    assert index.recall.value == pytest.approx(wanted, abs=2e-4)
    assert index.recall.value >= 0.9


@pytest.mark.parametrize(("kind", "less", "more"), [("ivf", 0.3, 0.8), ("hnsw", 0.5, 0.99)])
def test_more_recall_is_had_by_more_width(kind: Kind, less: float, more: float) -> None:
    rows = unit(np.random.default_rng(3).standard_normal((4000, 24)))
    low, high = (built(rows, kind, recall=recall, k=10) for recall in (less, more))
    assert low.width < high.width
    assert less <= low.recall.value < more <= high.recall.value


@pytest.mark.parametrize("kind", KINDS)
def test_never_gives_fewer_than_asked(kind: Kind) -> None:
    # A list holds one of four clumps: a search of one list finds 250 rows of 1000.
    rng = np.random.default_rng(4)
    rows = unit(np.eye(4)[np.arange(1000) % 4] + 0.01 * rng.standard_normal((1000, 4)))
    index = built(rows, kind, recall=0.1, k=1)
    for k in (10, 400, 1000, 1300):
        found = index.search(rows[:9], k)
        assert found.ids.shape == (9, min(k, 1000))
        assert found.ids.min() >= 0
    assert (np.sort(found.ids, axis=1) == np.arange(1000)).all()
    exact = Index.build(rows).search(rows[:9], 1000)
    np.testing.assert_allclose(found.cosines, exact.cosines, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_rows_come_by_id(kind: Kind) -> None:
    rows = clustered(600, 5)
    rows[::3] = rows[0]
    found = built(rows, kind, recall=0.5, k=3).search(rows[:1], 200)
    equal = found.ids[0][found.ids[0] % 3 == 0]
    assert len(equal) > 20
    assert equal.tolist() == sorted(equal)
    # A graph may not come upon all of them.
    assert kind == "hnsw" or equal.tolist() == list(range(0, 600, 3))


def test_leaves_one_out_and_splits_into_blocks(index: ApproximateIndex) -> None:
    rows, own = clustered(5003, 1)[:50], np.arange(50)
    whole = index.search(rows, 5, exclude=own)
    assert not (whole.ids == own[:, None]).any()
    for part, found in index.search_blocks(rows, 5, exclude=own, block=7):
        assert (found.ids == whole.ids[part]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_recall_out_of_reach_is_reported(
    kind: Kind, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approximate, "MOST_EF", 16)
    rows = unit(np.random.default_rng(6).standard_normal((3000, 64)))
    with caplog.at_level(logging.INFO, logger="semcentres.approximate"):
        index = built(rows, kind, recall=1.0, k=10)
    assert index.recall.value < 1
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "stays below the 1.0 asked" in warning.getMessage()
    assert f"recall@10 {index.recall.value:.3f}" in warning.getMessage()


def test_logs_what_was_built(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="semcentres.approximate"):
        index = built(clustered(3000, 7), "ivf", recall=0.9, k=10)
    (told,) = [record.getMessage() for record in caplog.records]
    lists, value = index._faiss.nlist, index.recall.value
    assert told == (
        f"index: IVF {lists} lists, nprobe {index.width}, recall@10 {value:.3f}"
        " on 1,000 sampled rows"
    )


def test_auto_is_exact_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "EXACT_ROWS", 800)
    rows = clustered(801, 8)
    assert isinstance(build_index(rows[:800]), Index)
    assert isinstance(build_index(rows, kind="flat"), Index)
    assert isinstance(build_index(rows), ApproximateIndex)
    assert isinstance(build_index(rows[:1], kind="hnsw"), Index)


def test_is_the_same_when_built_again() -> None:
    rows, queries = clustered(3000, 9), clustered(40, 10)
    first, again = (built(rows, "ivf", recall=0.8).search(queries, 10) for _ in range(2))
    assert (first.ids == again.ids).all()


def test_save_and_load_give_the_same_neighbours(index: ApproximateIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index", {"encoder": "e1"})
    loaded = ApproximateIndex.load(tmp_path / "index", {"encoder": "e1"})
    assert (len(loaded), loaded.dimension) == (5003, 16)
    assert (loaded.width, loaded.recall) == (index.width, index.recall)
    queries = clustered(30, 11)
    kept, found = index.search(queries, 12), loaded.search(queries, 12)
    assert (kept.ids == found.ids).all()
    assert (kept.cosines == found.cosines).all()
    with pytest.raises(InputError, match="encoder is 'e1', wanted 'e2'"):
        ApproximateIndex.load(tmp_path / "index", {"encoder": "e2"})


def test_load_refuses_what_is_not_as_written(index: ApproximateIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index", {})
    path = tmp_path / "index" / "index.faiss"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtefact, match=r"index\.faiss differs"):
        ApproximateIndex.load(tmp_path / "index")
    Index.build(clustered(9, 12)).save(tmp_path / "flat", {})
    with pytest.raises(CorruptArtefact, match="IndexFlatIP, wanted|kind b'IxFI'"):
        ApproximateIndex.load(tmp_path / "flat")


def forge(folder: Path, index: faiss.Index) -> None:
    """Write an index as a folder whose hashes are right, but which says what is not so."""
    from centre_builders.artefact import write_folder

    about = {"shape": [9, 16], "width": 1, "recall": [1.0, 1, 1]}
    with write_folder(folder, about=about) as temporary:
        faiss.write_index(index, str(temporary / "index.faiss"))


def test_load_refuses_what_a_forger_hashed(tmp_path: Path) -> None:
    flat_map = faiss.IndexIDMap(flat := faiss.IndexFlatIP(16))
    flat_map.add_with_ids(clustered(9, 13), np.arange(9))
    for name, forged in (("flat", flat), ("map", flat_map)):
        forge(tmp_path / name, forged)
        with pytest.raises(CorruptArtefact, match="IndexFlatIP, wanted|kind b'IxFI'"):
            ApproximateIndex.load(tmp_path / name)
    forge(tmp_path / "other", built(clustered(200, 14), "ivf")._faiss)
    with pytest.raises(CorruptArtefact, match=r"not of shape \[9, 16\]"):
        ApproximateIndex.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"recall": 0.0}, "recall must be above 0 and at most 1, got 0.0"),
        ({"recall": 1.1}, "got 1.1"),
        ({"recall": float("nan")}, "got nan"),
        ({"k": 0}, "k must be at least 1, got 0"),
    ],
)
def test_build_refuses(arguments: dict[str, float], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        build_index(clustered(9, 15), **arguments)  # type: ignore[arg-type]


def test_build_refuses_another_kind() -> None:
    # Past the annotation, which is only checked in tests.
    with pytest.raises(InputError, match="kind must be auto, flat, ivf or hnsw, got 'pq'"):
        unwrap(build_index)(clustered(9, 15), kind="pq")


def test_build_refuses_rows_that_are_not_of_length_1() -> None:
    with pytest.raises(InputError, match="row 0 of the embeddings has length 2"):
        build_index(2 * clustered(90, 16), kind="ivf")


def test_search_refuses(index: ApproximateIndex) -> None:
    for queries, k, fault in [
        (clustered(2, 17), 0, "k must be at least 1, got 0"),
        (clustered(2, 17, columns=5), 1, "queries have 5 columns, the index 16"),
    ]:
        with pytest.raises(InputError, match=fault):
            index.search(queries, k)
