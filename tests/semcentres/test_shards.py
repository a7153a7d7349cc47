"""Search and retrieval over shards: the bits of one index, by one process and by two."""

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from centre_builders import embedded
from centre_builders.artefact import write_folder
from centre_builders.embedded import complete, open_parts, read_embedded, write_part
from centre_builders.errors import CorruptArtefact, InputError
from centre_builders.items import make_items
from semcentres.approximate import Kind, build_index, build_over
from semcentres.approximate_index import ApproximateIndex
from semcentres.cli import main
from semcentres.collection import Collection, mapped_shards
from semcentres.evaluation.knn import knn_predict
from semcentres.evaluation.retrieval import retrieval_metrics
from semcentres.index import Index
from semcentres.indexes import describe_index
from semcentres.neighbours import Neighbours
from semcentres.on_disk import save_on_disk
from semcentres.retrieving import measure, read_labelled
from semcentres.shards import Shard, Shards

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
WORKER = str(Path(__file__).parent / "shards_worker.py")
SIZES = (40, 1000)
NUM, PARTS = 600, (0, 7, 250, 256, 600)  # rows, and where parts of them begin


def drawn(num: int, columns: int = 17) -> np.ndarray:
    """Return unit rows, of which many are equal."""
    rng = np.random.default_rng(num)
    rows = rng.standard_normal((num, columns))[rng.integers(num // 2, size=num)]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def cut(rows: np.ndarray) -> list[Shard]:
    """Return the rows in shards."""
    ends = [int(part * len(rows)) for part in (0, 0.1, 0.15, 0.7, 1)]
    pairs = zip(ends, ends[1:], strict=False)
    return [Shard(start, Index.over(rows[start:end])) for start, end in pairs]


def together(*command: str) -> None:
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*TORCHRUN, *command], env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four parts, as `embed` writes them; every sixth image has no label, one part has none."""
    folder = tmp_path_factory.mktemp("embeddings")
    rows = drawn(NUM)
    labels = [None if n % 6 == 5 or 250 <= n < 256 else f"class {n % 7}" for n in range(NUM)]
    for number, (start, end) in enumerate(zip(PARTS, PARTS[1:], strict=False)):
        items = make_items(np.arange(start, end), [None] * (end - start), labels[start:end])
        write_part(folder, number, rows[start:end], items, {"model": "m", "rows": end - start})
    complete(folder, {"model": "m"}, len(PARTS) - 1)
    return folder


def test_rows_of_another_process_in_a_part_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs into one folder: the other's rows come between this one's rows and its `.done`."""
    items = make_items(np.arange(4), [None] * 4, ["cat"] * 4)
    write = embedded.write_file

    def overtaken(path: Path, *parts: bytes) -> None:
        write(path, *parts)
        if path.suffix == ".npy":
            np.save(path, drawn(4)[::-1])

    monkeypatch.setattr(embedded, "write_file", overtaken)
    write_part(tmp_path, 0, drawn(4), items, {"model": "m", "rows": 4})
    with pytest.raises(CorruptArtefact, match="embed it again"):
        embedded.read_done(tmp_path, 0)


@pytest.mark.parametrize("k", [1, 9, 130, 2000])
def test_shards_find_what_one_index_finds_to_the_bit(k: int) -> None:
    """Among equal rows too, of shards with fewer rows than k, and of more than there are."""
    rows = drawn(1000)
    shards, whole = Shards(cut(rows), 1000, rows.shape[1]), Index.build(rows)
    for exclude in (None, np.arange(50)):
        found = shards.search(rows[:50], k, exclude=exclude)
        wanted = whole.search(rows[:50], k, exclude=exclude)
        assert np.array_equal(found.ids, wanted.ids)
        assert found.cosines.tobytes() == wanted.cosines.tobytes()
    ids = np.array([999, 0, 100, 99, 700])
    assert np.array_equal(shards.rows(ids), rows[ids])
    assert np.array_equal(shards.vectors, rows)
    numbers = np.concatenate([numbers for numbers, _ in shards.blocks()])
    assert np.array_equal(numbers, np.arange(1000))
    assert all(np.array_equal(block, rows[numbers]) for numbers, block in shards.blocks())


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_retrieval_holds_no_more_neighbours_than_it_may(
    num_ranks: int, embeddings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of all processes, which the first one holds."""
    found = read_labelled(open_parts(embeddings))
    index = Index.build(np.concatenate([found.rows(part) for part in range(len(PARTS) - 1)]))
    wanted, sizes, search = measure(found, index), [], Index.search_blocks

    def noted(self: Index, *args: Any, **how: Any) -> Iterator[tuple[slice, Neighbours]]:  # noqa: ANN401
        for at, near in search(self, *args, **how):
            sizes.append(near.ids.shape)
            yield at, near

    monkeypatch.setattr(Index, "search_blocks", noted)
    monkeypatch.setattr("semcentres.retrieving.MOST_NEIGHBOURS", 3000)
    assert measure(found, index, num_ranks) == wanted
    num, k = max(sizes)
    assert num == 3000 // (k * num_ranks)


def test_two_processes_find_the_same_and_send_no_more_for_more_rows(tmp_path: Path) -> None:
    for size in SIZES:
        np.save(tmp_path / f"{size}.npy", drawn(size))
    together(WORKER, str(tmp_path))
    sent = {(tmp_path / f"{size}.sent").read_text() for size in SIZES}
    # What the first process sends, 23 queries and their shape, and 10 keys a query from itself.
    assert sent == {str(16 + 23 * 17 * 4 + 23 * 10 * 8)}
    for size in SIZES:
        rows = drawn(size)
        wanted = Index.build(rows).search(rows[:23], 9, exclude=np.arange(23))
        found = np.load(tmp_path / f"{size}.npz")
        assert np.array_equal(found["ids"], wanted.ids)
        assert found["cosines"].tobytes() == wanted.cosines.tobytes()


def test_retrieval_is_that_of_one_index_by_one_process_and_by_two(
    embeddings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, few = (f"out={tmp_path / name}.json" for name in ("one", "two", "few"))
    assert main(["retrieve", f"embeddings={embeddings}", one]) == 0
    with monkeypatch.context() as patched:  # of so large classes that a query is asked by itself
        patched.setattr("semcentres.retrieving.MOST_NEIGHBOURS", 1)
        assert main(["retrieve", f"embeddings={embeddings}", few]) == 0
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "few.json").read_bytes()
    together("-m", "semcentres", "retrieve", f"embeddings={embeddings}", two)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    found = json.loads((tmp_path / "one.json").read_text())
    whole = read_embedded(embeddings)
    names = whole.items["label"].to_pylist()
    known = [n for n, name in enumerate(names) if name is not None]
    labels = np.array([int(names[n][-1]) for n in known])
    near = Index.build(whole.vectors[known]).search(
        whole.vectors[known], len(known) - 1, exclude=np.arange(len(known))
    )
    metrics = retrieval_metrics([(slice(0, len(known)), near.ids)], labels)
    votes = knn_predict(near.ids[:, :20], near.cosines[:, :20], labels, num_classes=7)
    assert found == {
        "num_images": len(known), "num_without_label": NUM - len(known), "num_alone": 0,
        "knn_accuracy": float((votes == labels).mean()),
        **{f"recall_at_{rank}": value for rank, value in metrics.recall_at.items()},
        "r_precision": metrics.r_precision, "map_at_r": metrics.map_at_r, "model": "m",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("killed", "rank 1 is gone: killed"),
        ("killed early", "rank 1 is gone: killed"),
        ("hung", "rank 1 has not come within 8 s, it is at shards.py:"),
    ],
)
def test_a_process_that_fails_ends_retrieval(
    embeddings: Path, tmp_path: Path, fault: str, told: str
) -> None:
    out = tmp_path / "found.json"
    command = [*TORCHRUN, WORKER, str(embeddings), fault, str(out)]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=quiet, capture_output=True, text=True)
    ended = time.time()
    assert done.returncode != 0
    assert f"semcentres: rank 0: {told}" in done.stderr
    assert not out.exists()
    pid = out.with_suffix(".pid")
    assert ended - pid.stat().st_mtime < 8 + 30
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_nothing_to_retrieve_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_part(
        tmp_path, 0, drawn(4), make_items(np.arange(4), [None] * 4, ["a", "b", None, None]),
        {"model": "m", "rows": 4},
    )  # fmt: skip
    complete(tmp_path, {"model": "m"}, 1)
    assert main(["retrieve", f"embeddings={tmp_path}"]) == 3
    assert "no two images of the same label" in capsys.readouterr().err
    assert main(["retrieve", f"embeddings={tmp_path}", "out=found.csv"]) == 2


def test_parts_are_searched_in_their_files(embeddings: Path, tmp_path: Path) -> None:
    """As a flat index of them, without a copy; a byte that differs is found."""
    assert main(["index", f"embeddings={embeddings}", f"out={tmp_path / 'flat'}"]) == 0
    among, flat = Collection.load(embeddings), Collection.load(tmp_path / "flat")
    found, wanted = (each.search(drawn(40), 12) for each in (among, flat))
    assert np.array_equal(found.ids, wanted.ids)
    assert found.cosines.tobytes() == wanted.cosines.tobytes()
    assert among.items.equals(flat.items)
    shards = mapped_shards(open_parts(embeddings)).shards
    maps = Path("/proc/self/maps").read_text()
    assert all(f"{embeddings}/part-0000{number}.npy" in maps for number in range(4))
    assert not any(shard.index.vectors.flags.owndata for shard in shards)
    path = embeddings / "part-00001.npy"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(CorruptArtefact, match=r"part-00001\.npy differs"):
            Collection.load(embeddings)
    finally:
        path.write_bytes(kept)


def test_lists_on_disk_need_room_before_they_are_merged(
    embeddings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("semcentres.on_disk.disk_usage", lambda _: SimpleNamespace(free=10))
    words = ["index", f"embeddings={embeddings}", "on_disk=true", f"out={tmp_path / 'made'}"]
    assert main(words) == 5
    assert "disk full writing" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_lists_on_disk_hold_each_row_once(embeddings: Path, tmp_path: Path) -> None:
    """Searched through, they are exact; a file that is moved with its folder is found."""
    words = ["index", f"embeddings={embeddings}", "on_disk=true", "recall=0.9"]
    assert main([*words, f"out={tmp_path / 'made'}"]) == 0
    (tmp_path / "made").rename(tmp_path / "moved")
    among, whole = Collection.load(tmp_path / "moved"), read_embedded(embeddings)
    assert sorted(p.name for p in (tmp_path / "moved").iterdir()) == [
        "MANIFEST.json", "index.faiss", "index.ivfdata", "items.parquet",
    ]  # fmt: skip
    assert np.array_equal(among.vectors, whole.vectors)
    assert among.items.equals(whole.items)
    index = among.index
    assert not isinstance(index, Index | Shards)
    assert (index.kind, index.recall.k) == ("ivf", 10)
    assert index.recall.value >= 0.9 or index.width == 3
    index.width = NUM  # all lists
    found = index.search(drawn(40), 12)
    wanted = Index.build(whole.vectors).search(drawn(40), 12)
    np.testing.assert_allclose(found.cosines, wanted.cosines, atol=1e-6)
    assert main([*words, "kind=hnsw", f"out={tmp_path / 'other'}"]) == 2


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_an_index_of_parts_is_that_of_their_rows(
    embeddings: Path, tmp_path: Path, kind: Kind
) -> None:
    words = [f"embeddings={embeddings}", f"out={tmp_path / 'made'}", f"kind={kind}", "recall=0.9"]
    assert main(["index", *words]) == 0
    among, whole = Collection.load(tmp_path / "made"), read_embedded(embeddings)
    assert among.items.equals(whole.items)
    wanted = build_index(whole.vectors, kind=kind, recall=0.9)
    assert describe_index(among.index) == describe_index(wanted)
    found, wanted = (each.search(drawn(40), 12) for each in (among.index, wanted))
    assert np.array_equal(found.ids, wanted.ids)
    assert found.cosines.tobytes() == wanted.cosines.tobytes()


@contextmanager
def at_most(num_bytes: float) -> Iterator[None]:
    """See to it that numpy never holds so many bytes; files and FAISS do not count."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < num_bytes
    finally:
        tracemalloc.stop()


def test_lists_are_made_and_read_a_part_at_a_time(tmp_path: Path) -> None:
    """Of 100,000 rows: as many as their centroids are learnt from, and then ten in a hundred."""
    rows = drawn(100_000, 32)
    ends = range(0, len(rows), 10_000)
    for number, start in enumerate(ends):
        np.save(tmp_path / f"{number}.npy", rows[start : start + 10_000])
    parts = [np.load(tmp_path / f"{n}.npy", mmap_mode="c") for n in range(len(ends))]
    shards = [Shard(n, Index.over(np.asarray(part))) for n, part in zip(ends, parts, strict=True)]
    among = Shards(shards, *rows.shape)
    with at_most(0.8 * rows.nbytes):
        assert len(build_over(among, kind="ivf", recall=0.5)) == len(rows)
    made = tmp_path / "made"
    with at_most(0.8 * rows.nbytes):
        save_on_disk(made, among, {}, lambda _: None, recall=0.5)
    few = np.array([99_999, 5])
    with at_most(0.2 * rows.nbytes):
        index = ApproximateIndex.load(made)
        found = index.rows(few)
        assert index.search(found, 3).cosines[:, 0] == pytest.approx(1, abs=1e-5)
        assert sum(len(block) for _, block in index.blocks()) == len(rows)
    assert np.array_equal(found, rows[few])


def test_lists_that_lead_out_of_their_file_are_refused(embeddings: Path, tmp_path: Path) -> None:
    words = ["index", f"embeddings={embeddings}", "on_disk=true", f"out={tmp_path / 'made'}"]
    assert main(words) == 0
    kept = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    about = json.loads(kept.pop("MANIFEST.json"))["about"]
    told = kept["index.faiss"].index(b"ilod") + 4 + 16 + 8  # the first list's size

    def again(index: bytes, lists: bytes) -> None:
        with write_folder(tmp_path / "made", about=about) as folder:
            for name, content in {**kept, "index.faiss": index, "index.ivfdata": lists}.items():
                (folder / name).write_bytes(content)
        Collection.load(tmp_path / "made")

    index, lists = kept["index.faiss"], kept["index.ivfdata"]
    again(index, lists)
    far = (1 << 40).to_bytes(8, "little")
    for place in range(told, told + 24, 8):  # size, capacity, offset
        with pytest.raises(InputError, match="lead out of their file"):
            again(index[:place] + far + index[place + 8 :], lists)
    with pytest.raises(InputError, match="beside it"):
        again(index, lists[:-4096])
    with pytest.raises(InputError, match="beside it"):
        again(index.replace(b"index.ivfdata", b"index.faissss"), lists)
    with pytest.raises(InputError, match="has length 0"):
        again(index, bytes(len(lists)))
