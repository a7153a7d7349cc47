"""Indexes whose hashes are right and whose content would lead a search astray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

# torch comes first: both bring an OpenMP of their own.
import torch  # noqa: F401  # isort: skip
import faiss
import numpy as np
import pytest

from centre_builders.artefact import write_folder
from centre_builders.errors import CorruptArtefact
from semcentres.approximate_index import ApproximateIndex
from semcentres.faiss_kinds import graph_of, trained_lists, within
from semcentres.index import FILE_NAME, Index
from semcentres.indexes import load_index

NUM, WIDTH = 300, 8
GOOD = {"shape": [NUM, WIDTH], "width": 4, "recall": [1.0, 10, 5]}


def rows() -> np.ndarray:
    drawn = np.random.default_rng(3).normal(size=(NUM, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def lists(ids: np.ndarray | None = None, vectors: np.ndarray | None = None) -> Any:  # noqa: ANN401
    found = trained_lists(rows(), len(rows()))
    found.add_with_ids(
        rows() if vectors is None else vectors, np.arange(NUM) if ids is None else ids
    )
    return found


def graph() -> Any:  # noqa: ANN401
    found = graph_of(rows().shape[1])
    found.add_with_ids(rows(), np.arange(NUM))
    return found


def write(place: Path, found: Any, **about: object) -> Path:  # noqa: ANN401
    with write_folder(place, about={**GOOD, **about}) as folder:
        faiss.write_index(found, str(folder / FILE_NAME))
    return place


def changed(name: str, change: Callable[[np.ndarray], object]) -> Any:  # noqa: ANN401
    """Return a graph of which one array is another."""
    found = graph()
    vector = found.id_map if name == "id_map" else getattr(within(found).hnsw, name)
    array = faiss.vector_to_array(vector)
    change(array)
    faiss.copy_array_to_vector(array, vector)
    return found


def put(place: int, value: int) -> Callable[[np.ndarray], object]:
    return lambda array: array.__setitem__(place, value)


def link_to_a_row_that_is_not_on_the_level() -> Any:  # noqa: ANN401
    found = graph()
    hnsw = within(found).hnsw
    levels, starts = faiss.vector_to_array(hnsw.levels), faiss.vector_to_array(hnsw.offsets)
    above, below = int(np.argmax(levels > 1)), int(np.argmax(levels == 1))
    first = int(starts[above]) + int(faiss.vector_to_array(hnsw.cum_nneighbor_per_level)[1])
    return changed("neighbors", put(first, below))


def entered_at(row: int) -> Any:  # noqa: ANN401
    found = graph()
    within(found).hnsw.entry_point = row
    return found


def spoilt(row: int, value: float) -> np.ndarray:
    vectors = rows()
    vectors[row, 0] = value
    return vectors


def numbered(row: int, id_: int) -> np.ndarray:
    ids = np.arange(NUM)
    ids[row] = id_
    return ids


def quantised() -> Any:  # noqa: ANN401
    found = faiss.IndexScalarQuantizer(
        WIDTH, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    found.train(rows())
    found.add(rows())
    return found


def flat(metric: type[faiss.Index] = faiss.IndexFlatIP) -> Any:  # noqa: ANN401
    found = metric(WIDTH)
    found.add(rows())
    return found


def map_of_rows() -> Any:  # noqa: ANN401
    found = faiss.IndexIDMap(faiss.IndexFlatIP(WIDTH))
    found.add_with_ids(rows(), np.arange(NUM))
    return found


# FAISS's own reader may be the first to see it.
GRAPH, IDS = "lead out|RuntimeError", "ids are not those|RuntimeError"
HOSTILE: dict[str, tuple[Callable[[], Any], str]] = {
    "an id twice": (lambda: lists(numbered(5, 6)), IDS),
    "an id beyond the rows": (lambda: lists(numbered(5, NUM)), IDS),
    "the id -1": (lambda: lists(numbered(5, -1)), IDS),
    "nan in a row": (lambda: lists(vectors=spoilt(7, np.nan)), f"row .* of the index|{IDS}"),
    "a long row": (lambda: lists(vectors=spoilt(7, 9.0)), "row .* of the index has length"),
    "a graph's id twice": (lambda: changed("id_map", put(5, 6)), IDS),
    "a link beyond the rows": (lambda: changed("neighbors", put(0, NUM)), GRAPH),
    "a link to -2": (lambda: changed("neighbors", put(0, -2)), GRAPH),
    "a link out of its level": (link_to_a_row_that_is_not_on_the_level, GRAPH),
    "a row on more levels": (lambda: changed("levels", lambda a: a.__iadd__(1)), GRAPH),
    "a place beyond the links": (lambda: changed("offsets", put(NUM, 1 << 40)), GRAPH),
    "an entry beyond the rows": (lambda: entered_at(NUM), GRAPH),
    "a map of no graph": (map_of_rows, "a part of kind b'IxFI'"),
    "another kind of index": (quantised, "a part of kind b'IxSQ'"),
    "another metric": (lambda: flat(faiss.IndexFlatL2), "a part of kind b'IxF2'"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_hostile_indexes_are_refused(tmp_path: Path, fault: str) -> None:
    make, said = HOSTILE[fault]
    place = write(tmp_path / "i", make())
    with pytest.raises(CorruptArtefact, match=said) as caught:
        load_index(place)
    assert str(place) in str(caught.value)


@pytest.mark.parametrize("make", [lists, graph])
@pytest.mark.parametrize("width", [0, -1, "4", 1.5, None, 1 << 70, NUM + 1024])
def test_a_width_that_no_search_has_is_refused(
    tmp_path: Path, make: Callable[[], Any], width: object
) -> None:
    with pytest.raises(CorruptArtefact, match="it is searched by width|not an index"):
        ApproximateIndex.load(write(tmp_path / "i", make(), width=width))


@pytest.mark.parametrize("make", [lists, graph])
def test_what_is_sound_is_read(tmp_path: Path, make: Callable[[], Any]) -> None:
    found = load_index(write(tmp_path / "i", make()))
    np.testing.assert_array_equal(found.vectors, rows())
    assert (found.search(rows(), 1).ids[:, 0] == np.arange(NUM)).mean() > 0.5


def test_lists_in_another_file_are_not_opened(tmp_path: Path) -> None:
    """FAISS opens the file that such an index names, wherever it is."""
    found = lists()
    elsewhere = faiss.OnDiskInvertedLists(found.nlist, found.code_size, str(tmp_path / "lists"))
    elsewhere.merge_from(found.invlists, 0)
    found.replace_invlists(elsewhere, False)
    with pytest.raises(CorruptArtefact, match="bytes of index.ivfdata beside it"):
        load_index(write(tmp_path / "i", found))


def test_flat_rows_that_are_not_of_length_1_are_refused(tmp_path: Path) -> None:
    found = faiss.IndexFlatIP(WIDTH)
    found.add(spoilt(7, np.nan))
    with write_folder(tmp_path / "i", about={"shape": [NUM, WIDTH]}) as folder:
        faiss.write_index(found, str(folder / FILE_NAME))
    with pytest.raises(CorruptArtefact, match="row 7 of the embeddings has length nan"):
        Index.load(tmp_path / "i")
