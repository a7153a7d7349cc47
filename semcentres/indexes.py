"""Either kind of index, exact or approximate: opened alike, described alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from centre_builders.artefact import read_manifest
from semcentres.approximate_index import ApproximateIndex
from semcentres.index import Index
from semcentres.shards import Shards

AnyIndex = Index | ApproximateIndex


def load_index(folder: Path, expect: Mapping[str, Any] | None = None) -> AnyIndex:
    """Return the index that a folder holds, if its `about` holds all that is expected.

    Raises:
        CorruptArtefact: a file is not what was written.
        InputError: the index was made from something else than expected.
    """
    # What is read here is verified there.
    approximate = "recall" in read_manifest(folder)["about"]
    return (ApproximateIndex if approximate else Index).load(folder, expect)


def describe_index(index: AnyIndex | Shards) -> dict[str, Any]:
    """Return kind, recall and the k that it was measured for as JSON; exact search has recall 1."""
    if isinstance(index, Index | Shards):
        return {"kind": index.kind, "recall": 1.0, "k": None}
    return {"kind": index.kind, "recall": index.recall.value, "k": index.recall.k}


def tell_index(described: Mapping[str, Any]) -> str:
    """Return in words how exact a search is, of what `describe_index` gives."""
    if described["k"] is None:
        return "exact"
    return f"{described['kind']}, measured recall@{described['k']} {described['recall']:.3f}"
