"""split.json: which images a run was trained, tuned and tested on, and whether they are still so.

    {"fingerprint": "…", "class_names": […],
     "labelled": {"cat/a.jpg": "1f3a…", …}, "unlabelled": {…}, "validation": {…}, "test": {…},
     "sha256": "…"}

An image is called by its path within the data set, or by its number where it has none; beside it
stands a short hash of its pixels and of the name of its class.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import torch

from centre_builders.artefact import write_json
from centre_builders.errors import InputError, refused_unless
from centre_builders.json_files import read_sealed, sealed
from semcentres.data.files import FileSource
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split

log = logging.getLogger(__name__)

FILE = "split.json"
PARTS = ("labelled", "unlabelled", "validation", "test")
Marks = dict[str, str]  # id to hash
AnySource = TypeVar("AnySource", bound=Source | FileSource)


def save_split(run_dir: Path, source: Source, split: Split) -> None:
    """Write a run's split."""
    ids, marks = zip(*_marks(source, source.train, "train").items(), strict=True)
    rows = {part: getattr(split, part).sort().values.tolist() for part in PARTS[:3]}
    content = {
        "fingerprint": source.fingerprint,
        "class_names": list(source.class_names),
        **{part: {ids[row]: marks[row] for row in rows[part]} for part in rows},
        "test": _marks(source, source.test, "test"),
    }
    write_json(run_dir / FILE, sealed(content))


def in_run_order(run_dir: Path, source: AnySource) -> AnySource:
    """Return the data with its classes in the order that they had when a run was begun.

    Where they are not the same classes, or there is no split.json, nothing is changed.

    Raises:
        CorruptArtefact: split.json cannot be read.
    """
    before = _read(run_dir)
    names = tuple(before["class_names"]) if before else source.class_names
    if names == source.class_names or sorted(names) != sorted(source.class_names):
        return source
    log.warning("the classes are in another order than in %s; they are taken by name", run_dir)
    row = {name: number for number, name in enumerate(names)}
    rows: list[int] = [row[name] for name in source.class_names]
    if isinstance(source, FileSource):
        parts: dict[str, Any] = {
            part: tuple(
                replace(file, label=rows[file.label] if file.label >= 0 else file.label)
                for file in getattr(source, part)
            )
            for part in ("train", "validation", "test")
        }
    else:
        table = torch.tensor([*rows, -1])  # -1 is the last
        sets = {"train": source.train, "test": source.test}
        parts = {part: replace(of, labels=table[of.labels]) for part, of in sets.items()}
    return replace(source, class_names=names, **parts)


def check_unchanged(run_dir: Path, source: Source, force: Collection[str] = ()) -> Source:
    """Compare the data with what a run was made with; a run without split.json is not compared.

    Args:
        run_dir: of the run.
        source: the data as it is now.
        force: with "data" in it, images may differ all the same; classes may not.

    Returns:
        The data, with its classes in the order that they had.

    Raises:
        InputError: images or classes were added, removed or changed; they are counted, and the
            first few are named.
        CorruptArtefact: split.json cannot be read.
    """
    before = _read(run_dir)
    source = in_run_order(run_dir, source)
    if before is None or before["fingerprint"] == source.fingerprint:
        return source
    then: Marks = {id_: mark for part in PARTS for id_, mark in before[part].items()}
    names = {name: "" for name in before["class_names"]}
    now = {**_marks(source, source.train, "train"), **_marks(source, source.test, "test")}
    classes = _differences(names, {name: "" for name in source.class_names}, "classes")
    images = _differences(then, now, "images")
    told = "; ".join([*classes, *images]) or "their order, or which are for validation"
    if "data" in force and not classes:
        log.warning("the data is not what %s was trained with (%s; forced)", run_dir, told)
        return source
    forcing = "" if classes else ", or set force=[data] to go on all the same"
    raise InputError(
        f"the data is not what {run_dir} was trained with ({told}); put it back, or train again"
        f" with another run_dir or restart=true{forcing}"
    )


def _read(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / FILE
    if not path.is_file():
        return None
    content = read_sealed(path, "a run's split")
    with refused_unless(path, "a run's split"):
        lacking = {"fingerprint", "class_names", *PARTS} - content.keys()
        if lacking or not all(isinstance(content[part], dict) for part in PARTS):
            raise ValueError(f"no {', '.join(sorted(lacking)) or 'table of images'}")
        return content


def warn_of_duplicates(source: Source) -> None:
    """Say how many test images are among the training images too, to the pixel."""
    trained = set(source.train.digests)
    ids = source.test.ids or range(len(source.test))
    both = [id_ for id_, digest in zip(ids, source.test.digests, strict=True) if digest in trained]
    if both:
        log.warning(
            "%d of %d test images are training images too, such as %s; results are better than"
            " they should be",
            len(both),
            len(source.test),
            both[0],
        )


def _marks(source: Source, images: ImageSet, split: str) -> Marks:
    names = [*source.class_names, ""]  # -1 is the last
    ids = images.ids or [f"{split} {row}" for row in range(len(images))]
    return {
        id_: blake2b(f"{digest} {names[label]}".encode(), digest_size=8).hexdigest()
        for id_, digest, label in zip(ids, images.digests, images.labels.tolist(), strict=True)
    }


def _differences(then: Mapping[str, str], now: Mapping[str, str], what: str) -> list[str]:
    """Return what was added, removed and changed, each with its number and first few names.

    >>> _differences({"a": "1", "b": "2"}, {"b": "3", "c": "4"}, "images")
    ['images added: 1 (c)', 'images removed: 1 (a)', 'images changed: 1 (b)']
    """
    found = {
        "added": [key for key in now if key not in then],
        "removed": [key for key in then if key not in now],
        "changed": [key for key in now if key in then and now[key] != then[key]],
    }
    return [
        f"{what} {how}: {len(keys)} ({', '.join(keys[:5])}{', …' if len(keys) > 5 else ''})"
        for how, keys in found.items()
        if keys
    ]
