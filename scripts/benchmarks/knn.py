"""Nearest neighbours: the exact index against a bare product and what peers offer.

Every side gets the same unit rows, builds what it needs and gives the k nearest of every query.
Then all retrieval metrics of the queries among themselves, from one pass of their neighbours.

Dimensions: N gallery rows, Q queries, D columns, k neighbours, C classes.
"""

# torch comes first: see semcentres/index.py.
import torch  # isort: skip

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np
from lightly.utils.benchmarking import knn_predict as lightly_predict
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import FaissKNN
from sklearn.neighbors import NearestNeighbors

from benchmarks.timing import Mark, Report, race
from semcentres.evaluation.knn import knn_predict
from semcentres.evaluation.retrieval import RetrievalMetrics, num_neighbours, retrieval_metrics
from semcentres.index import Index

N, Q, D, K, C = 60_000, 10_000, 64, 20, 100
SPREAD = 1.5  # of a class, a column, beside 1 of the centres: classes overlap
BLOCK = 1024  # queries at once, where a side leaves that to its caller: the fastest of 128 to 1024
FAISS_THRESHOLD = 20  # FAISS's own; semcentres.index sets another


def measure() -> Report:
    """Race the sides; seconds for building and searching."""
    (rows, classes), (queries, labels) = clustered(N, seed=1), clustered(Q, seed=2)
    gallery, wanted, known = (torch.from_numpy(array) for array in (rows, queries, classes))

    def search() -> None:
        Index.build(rows).search(queries, K)

    def search_and_vote() -> None:
        found = Index.build(rows).search(queries, K)
        knn_predict(found.ids, found.cosines, classes, num_classes=C)

    def bare() -> None:
        for block in wanted.split(BLOCK):
            torch.topk(block @ gallery.T, K)

    def by_sklearn(metric: str) -> None:
        NearestNeighbors(n_neighbors=K, algorithm="brute", metric=metric).fit(rows).kneighbors(
            queries
        )

    def by_faiss() -> None:
        with as_faiss_comes():
            FaissKNN()(wanted, K, gallery)

    def by_lightly() -> None:
        for block in wanted.split(BLOCK):
            lightly_predict(block, gallery.T, known, C, knn_k=K, knn_t=0.07)

    ours, voted, product = "semcentres", "semcentres with votes", "product and torch.topk"
    seconds = race(
        {
            ours: search,
            voted: search_and_vote,
            product: bare,
            "scikit-learn, cosine": lambda: by_sklearn("cosine"),
            "scikit-learn, euclidean": lambda: by_sklearn("euclidean"),
            "pytorch-metric-learning FaissKNN": by_faiss,
            "lightly knn_predict": by_lightly,
        },
        rounds=3,
    )
    sklearn = min(value for side, value in seconds.items() if side.startswith("scikit-learn"))
    faiss_ratio = seconds[ours] / seconds["pytorch-metric-learning FaissKNN"]
    report = Report(
        f"{K} nearest of {Q:,} queries among {N:,} rows of {D} columns",
        values={f"k = {K}": seconds},
        marks=[
            Mark("semcentres over product and torch.topk", seconds[ours] / seconds[product], 1.3),
            Mark("scikit-learn over semcentres", sklearn / seconds[ours], 3, at_most=False),
            Mark("semcentres over FaissKNN", faiss_ratio, 1),
            Mark(
                "semcentres with votes over lightly",
                seconds[voted] / seconds["lightly knn_predict"],
                1,
            ),
        ],
    )
    add_retrieval(report, queries, labels)
    return report


def add_retrieval(report: Report, queries: np.ndarray, labels: np.ndarray) -> None:
    """Race for recall, R-precision and MAP@R of the queries among themselves."""
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
    )

    def one_pass() -> RetrievalMetrics:
        blocks = Index.build(queries).search_blocks(
            queries, num_neighbours(labels), exclude=np.arange(len(queries))
        )
        return retrieval_metrics(((rows, block.ids) for rows, block in blocks), labels)

    def by_calculator() -> dict[str, float]:
        with as_faiss_comes():
            return dict(calculator.get_accuracy(queries, labels))

    ours, theirs = one_pass(), by_calculator()
    report.values["all retrieval metrics"] = race(
        {"semcentres": one_pass, "pytorch-metric-learning AccuracyCalculator": by_calculator},
        rounds=3,
    )
    report.notes.append(
        f"Retrieval: {num_neighbours(labels)} neighbours of {Q:,} queries among themselves; MAP@R"
        f" {ours.map_at_r:.6f}, by pytorch-metric-learning"
        f" {theirs['mean_average_precision_at_r']:.6f}."
    )


def clustered(num: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit rows around the C centres that every seed shares, and their classes."""
    centres = np.random.default_rng(0).standard_normal((C, D))
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, C, num)
    rows = centres[classes] + SPREAD * rng.standard_normal((num, D))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32), classes


@contextmanager
def as_faiss_comes() -> Iterator[None]:
    """Give FAISS its own BLAS back for as long as a peer uses it."""
    ours = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = FAISS_THRESHOLD
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = ours
