"""Tests that tens of thousands of classes need neither K x K numbers nor K looks at all images."""

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from centre_builders import geometry, steps
from centre_builders import hierarchy as hierarchy_builder
from centre_builders.errors import InputError
from centre_builders.geometry import coinciding
from centre_builders.taxonomy import Taxonomy, lcs_heights, lcs_heights_of
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import split_labels
from semcentres.evaluation import hierarchy
from semcentres.evaluation.hierarchy import (
    class_precision_at,
    hierarchical_distance_at,
    image_precision,
    mistake_severity,
)


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that are held at once."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def tree(num: int) -> tuple[Taxonomy, np.ndarray]:
    """Leaves below every tenth inner node below the root."""
    inner = max(2, num // 10)
    parents = {f"leaf {i}": f"inner {i % inner}" for i in range(num)}
    taxonomy = Taxonomy.from_parents(parents | {f"inner {i}": "root" for i in range(inner)})
    return taxonomy, taxonomy.rows_of([f"leaf {i}" for i in range(num)])


def blocks(ids: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(ids), 11):
        yield slice(start, min(start + 11, len(ids))), ids[start : start + 11]


def test_rows_of_heights_are_those_of_the_matrix() -> None:
    taxonomy, rows = tree(30)
    asked = np.array([7, 2, 7, 29])
    found = lcs_heights_of(taxonomy, rows)(asked)
    np.testing.assert_array_equal(found, lcs_heights(taxonomy, rows)[asked])
    assert found[0, [7, 10, 8]].tolist() == [0, 1, 2]


def test_hierarchy_of_4000_classes_takes_no_matrix() -> None:
    taxonomy, rows = tree(4000)
    rng = np.random.default_rng(0)
    labels = np.arange(4000)
    ranked, ids = (rng.integers(0, 4000, (4000, columns)) for columns in (5, 20))

    def measured() -> None:
        far = lcs_heights_of(taxonomy, rows)
        mistake_severity(far, ranked[:, 0], labels)
        hierarchical_distance_at(far, ranked, labels, ranks=(1, 5))
        class_precision_at(lambda classes: 1 - far(classes) / 2, ranked, labels, ranks=(1, 5))
        image_precision(
            blocks(ids), labels, lambda classes: 1 - far(classes) / 2, ranks=(1,), ahp_rank=20
        )

    assert peak_of(measured) < 4000**2 * 8 / 4  # a quarter of one matrix of these


@pytest.mark.parametrize("size", [1, 3, 128])
def test_blocks_of_classes_change_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a look into the matrix for each pair, with classes that no image has."""
    rng = np.random.default_rng(1)
    alike = rng.random((9, 9))
    labels, ranked = rng.choice([0, 2, 3, 5, 8], 40), rng.integers(0, 9, (40, 4))
    ids = np.argsort(rng.random((40, 39)), axis=1)
    monkeypatch.setattr(hierarchy, "BLOCK", size)
    rows = alike.__getitem__
    pairs = [[alike[y, c] for c in row] for y, row in zip(labels, ranked, strict=True)]
    best = [sorted(alike[y], reverse=True)[:4] for y in labels]
    wrong = [p[0] for p, y, r in zip(pairs, labels, ranked, strict=True) if r[0] != y]
    assert mistake_severity(rows, ranked[:, 0], labels) == pytest.approx(np.mean(wrong))
    assert hierarchical_distance_at(rows, ranked, labels, ranks=(4,))[4] == pytest.approx(
        np.mean(pairs)
    )
    assert class_precision_at(rows, ranked, labels, ranks=(4,))[4] == pytest.approx(
        np.sum(pairs) / np.sum(best)
    )
    got = [[alike[y, labels[i]] for i in row] for y, row in zip(labels, ids, strict=True)]
    most = [sorted(row, reverse=True) for row in got]
    wanted = np.mean(np.sum(np.array(got)[:, :6], axis=1) / np.sum(np.array(most)[:, :6], axis=1))
    found = image_precision(blocks(ids), labels, rows, ranks=(6,), ahp_rank=2)
    assert found.precision_at[6] == pytest.approx(wanted)


@pytest.mark.parametrize("each", [None, 2])
def test_split_is_that_of_a_look_at_all_labels_for_each_class(each: int | None) -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 5, (200,), generator=rng)
    images = ImageSet(torch.zeros(200, 1, 1, 1, dtype=torch.uint8), labels)
    source = Source("toy", tuple("abcde"), images, images)
    split = split_labels(source, labels_per_class=each, validation=30, seed=3)
    every = split_labels(source, labels_per_class=None, validation=30, seed=3)
    assert (labels[every.labelled].diff() >= 0).all()
    assert set(labels[every.unlabelled].tolist()) == {-1}
    wanted = [every.labelled[labels[every.labelled] == k][:each] for k in range(5)]
    assert torch.equal(split.labelled, torch.cat(wanted))
    both = torch.cat([split.labelled, split.unlabelled, split.validation])
    assert both.sort().values.tolist() == list(range(200))


@pytest.mark.parametrize(("gap", "named"), [(1e-2, None), (1e-5, None), (5e-7, (2, 4))])
def test_rows_that_coincide_are_found_after_a_quick_look(
    gap: float, named: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.eye(6)
    rows[4] = (1 - gap) * rows[2] + np.sqrt(1 - (1 - gap) ** 2) * rows[4]
    looked = []
    slow = geometry.nearest_pairs
    monkeypatch.setattr(geometry, "nearest_pairs", lambda *a: looked.append(1) or slow(*a))
    assert coinciding(rows.astype(np.float32)) == named
    assert bool(looked) == (gap < 1e-4)  # float32 cannot tell these apart


def test_what_needs_all_pairs_refuses_more_classes_than_a_matrix_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    builder = hierarchy_builder.Hierarchy(tree={"a": "r", "b": "r", "c": "r"})
    assign = steps.Assign(np.eye(3))
    assert builder.build("abc", seed=0).vectors.shape == (3, 3)
    assert assign.fit(np.eye(3)).order is not None
    for module in (hierarchy_builder, steps):
        monkeypatch.setattr(module, "MANY", 2)
    with pytest.raises(InputError, match="hierarchy compares all pairs of up to 2 classes, got 3"):
        builder.build("abc", seed=0)
    with pytest.raises(InputError, match="assign_to compares all pairs of up to 2 classes, got 3"):
        assign.fit(np.eye(3))
