"""Search among a million images: how long a query takes by lists.

The vectors are what a search is for: random views of the 60,000 training images of Fashion-MNIST
under an encoder that was trained for a short time. Queries are test images, of which the index
has none. Each is asked alone, as a person asks, and in batches. Recall is of these queries,
against exact search; what the index says of itself was measured on rows.

Dimensions: N rows, Q queries, D columns, k neighbours.
"""

# torch comes first: see semcentres/index.py.
import torch  # isort: skip

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float32

import semcentres
from benchmarks.timing import Mark, Report
from centre_builders.items import make_items
from semcentres.approximate import build_index
from semcentres.collection import Collection, save_collection
from semcentres.components import build
from semcentres.compose import load_config
from semcentres.embedding import embed
from semcentres.index import Index
from semcentres.indexes import AnyIndex, describe_index
from semcentres.model import Model
from semcentres.randomness import generator
from semcentres.recipe import make_source

N, Q, K = 1_000_000, 1000, 10
STEPS = 300  # of training
WARM = 20  # queries before those that are timed
RECALL = 0.95
Rows = Float32[np.ndarray, "N D"]


def measure(num: int = N, num_queries: int = Q, steps: int = STEPS) -> Report:
    """Return seconds a query, one by one and in a batch, by `auto` and exactly."""
    with tempfile.TemporaryDirectory() as place:
        rows, queries = embedded_views(Path(place) / "run", num, num_queries, steps)
        begun = time.perf_counter()
        index = build_index(rows, kind="ivf", recall=RECALL, k=K)
        seconds = time.perf_counter() - begun
        index = reloaded(index, Path(place) / "index").index
    exact = Index.build(rows)
    facts, name = describe_index(index), f"{index.kind}, recall@{K} asked {RECALL}"
    alone = {name: one_by_one(index, queries), "exact": one_by_one(exact, queries[:100])}
    recall = recall_of(index, exact, queries)
    p95 = float(np.quantile(alone[name], 0.95))
    return Report(
        f"{K} nearest of {len(rows):,} rows of {rows.shape[1]} columns",
        values={
            "one query, median": {side: float(np.median(t)) for side, t in alone.items()},
            "one query, 95 of 100 below": {
                side: float(np.quantile(t, 0.95)) for side, t in alone.items()
            },
            f"a query of {len(queries):,} at once": {
                name: per_query(lambda: index.search(queries, K), len(queries)),
                "exact": per_query(lambda: exact.search(queries, K), len(queries)),
            },
        },
        marks=[
            Mark("seconds of one query, 95 of 100 below", p95, 0.020),
            Mark(f"recall@{K} of queries that the index has not", recall, RECALL, at_most=False),
        ],
        notes=[
            f"The index says recall@{K} {facts['recall']:.4f} of itself; built in {seconds:.0f} s,"
            f" width {getattr(index, 'width', 'all')}."
        ],
    )


def embedded_views(run_dir: Path, num: int, num_queries: int, steps: int) -> tuple[Rows, Rows]:
    """Return embeddings of views of the training images, and of plain test images."""
    semcentres.train("experiment=fashion_100", f"trainer.steps={steps}", f"run_dir={run_dir}")
    model, config = Model.load(run_dir), load_config(run_dir / "config.yaml")
    source = make_source(config.data)
    view = build(next(iter(config.views.values())))
    images = source.train.images[:num]
    rows = np.empty((num, model.bank.dimension), np.float32)
    for number, start in enumerate(range(0, num, len(images))):

        def seen(batch: torch.Tensor, place: int, number: int = number) -> torch.Tensor:
            return view(batch, generator("bench", number, place))

        part = images[: num - start]
        rows[start : start + len(part)] = embed(model.encoder, part, view=seen)
    return rows, model.embed(source.test.images[:num_queries])


def reloaded(index: AnyIndex, folder: Path) -> Collection:
    """Return the index as a search finds it: written, verified and read."""
    num = len(index)
    save_collection(folder, index, make_items(np.arange(num), [None] * num, [None] * num), {})
    return Collection.load(folder)


def one_by_one(index: AnyIndex, queries: Rows) -> np.ndarray:
    """Return the seconds of each query, asked alone."""
    for query in queries[:WARM]:
        index.search(query[None], K)
    times = []
    for query in queries:
        begun = time.perf_counter()
        index.search(query[None], K)
        times.append(time.perf_counter() - begun)
    return np.array(times)


def per_query(work: Callable[[], object], num: int, rounds: int = 3) -> float:
    """Return the median seconds of some rounds, a query."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return float(np.median(times)) / num


def recall_of(index: AnyIndex, exact: Index, queries: Rows) -> float:
    """Return the part of found rows that are as near as the k-th true neighbour."""
    last = exact.search(queries, K).cosines[:, -1:]
    return float((exact.score(queries, index.search(queries, K).ids) >= last).mean())
