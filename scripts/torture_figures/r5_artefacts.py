"""R5: artefacts of six kinds, changed at random, are refused or give what they gave.

One trial is one changed file. As many again are changed by somebody who can compute hashes: these
may give something else, for whoever wrote a file may write another, but break nothing.
"""

import json
import shutil
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# torch comes first: both bring an OpenMP of their own.
import torch  # isort: skip
import faiss
import numpy as np
import pyarrow.parquet  # noqa: F401  # here, and not again in every child

from centre_builders import json_files
from centre_builders.artefact import MANIFEST, describe_file
from centre_builders.embedded import COMPLETE
from centre_builders.sealed import BLANK, SEAL
from torture_figures.artefact_kinds import KINDS, Kind
from torture_figures.mutating import mutate
from torture_figures.sandbox import BAD, answer_of, in_child, outcomes

BROKEN = ("uncaught", "unnamed", "executed", "crash", "hang")  # also of a file with right hashes
GOAL = (
    "of changed files of 6 kinds: 0 crashes, hangs, code run, uncaught or unnamed, 0 silently"
    " different; with hashes computed anew: 0 crashes, hangs, code run, uncaught or unnamed"
)


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return what `trials` changed files do, and as many again with hashes computed anew."""
    torch.set_num_threads(1)
    torch.set_printoptions(profile="full", precision=9)  # a state is compared as text
    faiss.omp_set_num_threads(1)
    with TemporaryDirectory(prefix="torture-") as folder:
        in_child(partial(_make_all, Path(folder)))
        found = {
            kind.name: _attack(kind, Path(folder) / kind.name, max(1, trials // len(KINDS)), seed)
            for kind in KINDS
        }
    measured = {name: {k: v for k, v in one.items() if k != "naive"} for name, one in found.items()}
    naive = {name: one["naive"] for name, one in found.items()}
    sound = all(
        not set(one["changed"]) & set(BAD) and not set(one["with new hashes"]) & set(BROKEN)
        for one in found.values()
    )
    toothed = sum(one.get("different", 0) for one in naive.values()) > 0
    return {"goal": GOAL, "measured": measured, "naive": naive, "passed": sound and toothed}


def _attack(kind: Kind, original: Path, num: int, seed: int) -> dict[str, Any]:
    """Return the outcomes of changed files: as they are, with new hashes, read naively."""

    def trial(number: int, place: Path, *, hashes: bool) -> str:
        rng = np.random.default_rng([seed, number])
        there = Path(shutil.copytree(original, place / "there"))
        files = sorted(p for p in there.rglob("*") if p.is_file())
        _spoil(files[rng.integers(len(files))], rng, hashes=hashes)
        if hashes:
            _hash_anew(there)
        return kind.read(there)

    content = next(original.rglob(kind.file)).read_bytes()

    def naive(number: int, _place: Path) -> str:
        return kind.naive(mutate(content, np.random.default_rng([seed, number])))

    wanted = answer_of(lambda _number, _place: kind.read(original))
    usual = answer_of(lambda _number, _place: kind.naive(content))
    return {
        "changed": outcomes(partial(trial, hashes=False), num, wanted),
        "with new hashes": outcomes(partial(trial, hashes=True), num, wanted, BROKEN),
        "naive": outcomes(naive, max(20, num // 10), usual, ()),
    }


def _spoil(file: Path, rng: np.random.Generator, *, hashes: bool) -> None:
    """Change a file; one that is sealed keeps a right seal, if hashes are computed anew."""
    content = file.read_bytes()
    if not (hashes and SEAL in content):
        file.write_bytes(mutate(content, rng))
        return
    before, _, after = content.partition(SEAL)
    blank = mutate(before + SEAL + BLANK + after[64:], rng)
    seal = sha256(blank).hexdigest().encode()
    file.write_bytes(blank.replace(SEAL + BLANK, SEAL + seal, 1))


def _hash_anew(folder: Path) -> None:
    """Write the hashes of the files as they are now into what lists them."""
    for listed in (p for name in (MANIFEST, "*.done", COMPLETE) for p in folder.rglob(name)):
        try:
            content = json.loads(listed.read_text())
            if "files" in content:
                names = content["files"]
                content["files"] = {name: describe_file(listed.parent / name) for name in names}
            if content.pop(json_files.SEAL, None):
                content = json_files.sealed(content)
            listed.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # It was what was changed.


def _make_all(folder: Path) -> None:
    for kind in KINDS:
        (folder / kind.name).mkdir()
        kind.make(folder / kind.name)
