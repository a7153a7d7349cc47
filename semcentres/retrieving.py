"""The verb `retrieve`: retrieval and kNN among labelled embeddings, by one process or several.

Dimensions: N labelled rows, n of a part, D embedding width.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64

from centre_builders.artefact import write_file
from centre_builders.embedded import Parts, open_parts
from centre_builders.errors import InputError, UsageError
from semcentres.evaluation.knn import NUM_NEIGHBOURS, knn_predict
from semcentres.evaluation.retrieval import num_neighbours, num_relevant, retrieval_metrics
from semcentres.index import Index
from semcentres.ranks import Ranks
from semcentres.settings import RetrieveConfig, TrainerSettings
from semcentres.shards import Shard, Shards
from semcentres.watchdog import together

Results = dict[str, Any]
MOST_NEIGHBOURS = 1 << 25  # of a block of queries, from all processes: 256 MB


@dataclass(frozen=True, eq=False)
class Labelled:
    """The rows of parts that have a label, numbered anew.

    Args:
        parts: of the embeddings.
        known: of each part, which rows have a label.
        labels: of all of those, in [0, number of classes).
    """

    parts: Parts
    known: list[Bool[np.ndarray, " _n"]]
    labels: Int64[np.ndarray, " N"]

    @cached_property
    def firsts(self) -> Int64[np.ndarray, " P"]:
        """The number of each part's first row."""
        nums = np.array([known.sum() for known in self.known])
        return np.asarray(np.cumsum(nums) - nums)

    def rows(self, number: int) -> Float32[np.ndarray, "n D"]:
        """Return a part's rows, mapped from their file where all have a label."""
        rows, known = self.parts.vectors(number), self.known[number]
        return rows if known.all() else rows[known]

    def shards(self, ranks: Ranks) -> Shards:
        """Return the shards to search, of which each process takes every `count`-th part."""
        numbers = range(ranks.rank, len(self.known), ranks.count)
        shards = [
            Shard(int(self.firsts[number]), Index.over(self.rows(number)))
            for number in numbers
            if self.known[number].any()
        ]
        return Shards(shards, len(self.labels), self.parts.vectors(0).shape[1], ranks)


def retrieve(config: RetrieveConfig) -> Results:
    """Look for each labelled image among the others, and measure what is found.

    Under torchrun every process holds a share of the parts; the result does not depend on their
    number, to the last digit. Only the first one returns it.

    Raises:
        UsageError: `out` is of an unknown kind.
        InputError: the embeddings are missing or damaged, or no class has two of them.
        RankLost: another process is the cause that this one cannot go on.
    """
    if config.out is not None and not config.out.endswith(".json"):
        raise UsageError(f"out={config.out} must end in .json")
    # gloo carries what is on the CPU.
    with together(TrainerSettings(device="cpu")) as others:
        found = read_labelled(open_parts(config.embeddings))
        told = f"{dict(found.parts.about)} of {len(found.labels):,} labelled rows"
        others.ranks.check_same("embeddings", told)
        shards = found.shards(others.ranks)
        with shards.shared() as searches:
            results = measure(found, shards, others.ranks.count) if searches else {}
    if results and config.out is not None:
        write_file(config.out, (json.dumps(results, indent=2) + "\n").encode())
    return results


def read_labelled(parts: Parts) -> Labelled:
    """Return the rows that have a label.

    Raises:
        InputError: no two of them have the same.
    """
    columns = [parts.items(number)["label"] for number in range(len(parts.sizes))]
    known = [np.asarray(column.is_valid().to_numpy()) for column in columns]
    names = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    codes = names.drop_null().combine_chunks().dictionary_encode().indices
    labels = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    if not len(labels) or not num_relevant(labels).any():
        raise InputError(
            f"{parts.folder} holds no two images of the same label, and nothing can be retrieved;"
            " embed a split of the run, or images in folders that are called like classes"
        )
    return Labelled(parts, known, labels)


def measure(found: Labelled, index: Index | Shards, num_ranks: int = 1) -> Results:
    """Return the metrics of rows that are looked for in an index that so many processes share."""
    labels = found.labels
    k = min(max(num_neighbours(labels), NUM_NEIGHBOURS), len(labels) - 1)
    # As many neighbours as the largest class has images: of some hundred thousand, fewer queries
    # at a time. The first process holds those of each.
    block = max(1, min(1024, MOST_NEIGHBOURS // (k * num_ranks)))
    votes = np.empty(len(labels), np.int64)

    def blocks() -> Iterator[tuple[slice, np.ndarray]]:
        for number, known in enumerate(found.known):
            first, num = int(found.firsts[number]), int(known.sum())
            own = np.arange(first, first + num)
            queries = found.rows(number)
            blocks = index.search_blocks(queries, k, exclude=own, block=block) if num else ()
            for at, near in blocks:
                rows = slice(first + at.start, first + at.stop)
                ids, cosines = near.ids[:, :NUM_NEIGHBOURS], near.cosines[:, :NUM_NEIGHBOURS]
                num_classes = int(labels.max()) + 1
                votes[rows] = knn_predict(ids, cosines, labels, num_classes=num_classes)
                yield rows, near.ids

    metrics = retrieval_metrics(blocks(), labels)
    return {
        "num_images": len(labels),
        "num_without_label": sum(found.parts.sizes) - len(labels),
        "num_alone": metrics.num_alone,
        "knn_accuracy": float((votes == labels).mean()),
        **{f"recall_at_{rank}": value for rank, value in metrics.recall_at.items()},
        "r_precision": metrics.r_precision,
        "map_at_r": metrics.map_at_r,
        "model": found.parts.about["model"],
    }
