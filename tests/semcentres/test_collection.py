"""Tests of collections and of `Model.search`, with a small model trained by the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from centre_builders.changes import add
from centre_builders.errors import CorruptArtefact, InputError
from centre_builders.items import make_items
from semcentres.approximate import build_index
from semcentres.approximate_index import ApproximateIndex
from semcentres.cli import main
from semcentres.collection import Collection, save_collection
from semcentres.compose import load_config
from semcentres.index import Index
from semcentres.indexes import load_index
from semcentres.model import Model
from semcentres.recipe import make_source

WORDS = [
    "train", "data=mnist_5k", "centres=word2vec", "encoder.width=4", "trainer.steps=20",
    "trainer.learning_rate=0.02", "trainer.labelled_batch=16", "trainer.unlabelled_batch=16",
    "trainer.device=cpu", "index=hnsw", "index_recall=0.9",
]  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "digits"
    assert main([*WORDS, f"run_dir={place}"]) == 0
    return place


def unit(num: int, seed: int, columns: int = 6) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((num, columns))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def small(folder: Path, **about: str) -> Collection:
    """Five images, two of them files, under ids that are not their rows."""
    items = make_items(
        np.array([3, 4, 8, 9, 20]), ["a.png", None, "b.png", None, None], ["x", None, "y", "x", "x"]
    )
    save_collection(folder, Index.build(unit(5, 0)), items, {"model": "m" * 64, **about})
    return Collection.load(folder)


def test_says_which_image_each_row_is(tmp_path: Path) -> None:
    found = small(tmp_path / "c")
    assert len(found) == 5
    assert [found.path(row) for row in range(3)] == [Path("a.png"), None, Path("b.png")]
    assert [found.label(row) for row in range(5)] == ["x", None, "y", "x", "x"]
    hits = found.search(unit(5, 0)[[2, 4]], 3)
    assert hits.rows[:, 0].tolist() == [2, 4]
    assert hits.ids[:, 0].tolist() == [8, 20]
    np.testing.assert_allclose(hits.cosines[:, 0], 1, atol=1e-6)
    assert (hits.ids == found.ids[hits.rows]).all()
    assert (found.vectors == unit(5, 0)).all()


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_every_kind_is_opened_and_gives_its_rows_back(kind: str, tmp_path: Path) -> None:
    rows = unit(2003, 1)
    build_index(rows, kind=kind, recall=0.8).save(tmp_path / "i", {"model": "m"})  # type: ignore[arg-type]
    found = load_index(tmp_path / "i", {"model": "m"})
    assert found.kind == kind
    assert isinstance(found, Index) == (kind == "flat")
    some = np.array([2002, 0, 77, 77])
    assert (found.rows(some) == rows[some]).all()
    assert "vectors" not in vars(found)  # for a few rows, not all are put together
    blocks = list(found.blocks())
    assert sorted(np.concatenate([ids for ids, _ in blocks]).tolist()) == list(range(2003))
    assert all((block == rows[ids]).all() for ids, block in blocks)
    assert (found.vectors == rows).all()
    assert found.search(rows[[7, 1990]], 1).ids[:, 0].tolist() == [7, 1990]
    with pytest.raises(InputError, match="model is 'm', wanted 'n'"):
        load_index(tmp_path / "i", {"model": "n"})


def test_refuses_what_is_no_collection(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"holds no items\.parquet; make it with: semcentres index"
    ):
        Collection.load(tmp_path)
    items = make_items(np.arange(4), [None] * 4, [None] * 4)
    save_collection(tmp_path / "c", Index.build(unit(5, 0)), items, {"model": "m"})
    with pytest.raises(CorruptArtefact, match="names 4 images of 5"):
        Collection.load(tmp_path / "c")


def test_refuses_a_changed_byte_of_the_names(tmp_path: Path) -> None:
    small(tmp_path / "c")
    path = tmp_path / "c" / "items.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtefact, match=r"items\.parquet differs"):
        Collection.load(tmp_path / "c")


def test_stale_index_is_refused_with_both_fingerprints(run_dir: Path, tmp_path: Path) -> None:
    model = Model.load(run_dir)
    stale = small(tmp_path / "c")
    with pytest.raises(
        InputError, match=f"model mmmmmmmmmmmm, this model is {model.fingerprint[:12]}"
    ):
        model.search("seven", among=stale)


def test_run_is_searched_in_its_own_training_images(run_dir: Path) -> None:
    model = Model.load(run_dir)
    own = model.collection
    assert isinstance(own.index, ApproximateIndex)
    source = make_source(load_config(run_dir / "config.yaml").data)
    image = source.train.images[own.ids[17]]
    hits = model.search(image, k=4)
    assert hits.rows.shape == (1, 4)
    assert hits.rows[0, 0] == 17
    assert own.label(17) == source.class_names[source.train.labels[own.ids[17]]]
    assert (model.search(image[None].expand(3, -1, -1, -1), k=4).rows == hits.rows).all()


def test_class_and_text_are_searched_by_their_vectors(run_dir: Path) -> None:
    model = Model.load(run_dir)
    for text, vector in (
        ("seven", model.bank.vectors[model.bank.names.index("seven")]),
        ("a dozen eggs", add(model.bank, ["a dozen eggs"]).vectors[-1]),
    ):
        hits = model.search(text, k=5)
        exact = np.sort(model.collection.vectors @ vector)[::-1][:5]
        np.testing.assert_allclose(hits.cosines[0], exact, atol=0.02)
        cosines = model.collection.vectors[hits.rows[0]] @ vector
        np.testing.assert_allclose(hits.cosines[0], cosines, atol=1e-6)


def test_image_file_is_searched_as_its_pixels(run_dir: Path, tmp_path: Path) -> None:
    model = Model.load(run_dir)
    image = make_source(load_config(run_dir / "config.yaml").data).train.images[5]
    Image.fromarray(image[0].numpy()).save(tmp_path / "five.png")
    by_file, by_pixels = model.search(tmp_path / "five.png", k=6), model.search(image, k=6)
    assert (by_file.rows == by_pixels.rows).all()


def test_search_refuses(run_dir: Path, tmp_path: Path) -> None:
    model = Model.load(run_dir)
    (tmp_path / "bad.png").write_bytes(b"no image")
    for query, fault in [
        (torch.zeros(3, 28, 28, dtype=torch.uint8), r"wanted uint8 \[N 1 H W\]"),
        (torch.zeros(1, 28, 28), r"torch\.float32"),
        (tmp_path / "bad.png", r"bad\.png is not a readable image"),
        ("xqzzy", "no word of 'xqzzy'"),
    ]:
        with pytest.raises(InputError, match=fault):
            model.search(query)
    with pytest.raises(InputError, match="k must be at least 1, got 0"):
        model.search("seven", k=0)
    with pytest.raises(InputError, match="no run folder"):
        replace(model, folder=None).search("seven")


def test_changes_of_the_bank_leave_embeddings_valid(run_dir: Path) -> None:
    model = Model.load(run_dir)
    more = replace(model, bank=add(model.bank, ["dozen"]))
    assert more.search("dozen", k=3, among=model.collection).rows.shape == (1, 3)


def test_results_say_how_exact_the_index_is(run_dir: Path) -> None:
    results = json.loads((run_dir / "metrics.json").read_text())
    index = Model.load(run_dir).collection.index
    assert isinstance(index, ApproximateIndex)
    assert results["index"] == {"kind": "hnsw", "recall": index.recall.value, "k": 10}
    assert (
        f"hnsw, measured recall@10 {index.recall.value:.3f}" in (run_dir / "README.md").read_text()
    )
