"""What may go wrong with a data set, found before anything is trained on it.

All of it is collected; the first thing that is wrong does not hide the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from centre_builders.artefact import describe_file, write_json
from centre_builders.class_names import ClassNames
from centre_builders.errors import InputError
from centre_builders.findings import Finding, Severity
from semcentres.banks import audit_names, make_bank
from semcentres.components import build
from semcentres.data.decoded import in_threads
from semcentres.data.files import FileSource
from semcentres.data.image_file import FORMATS, MODES
from semcentres.data.source import UNLABELLED, Source
from semcentres.data.split import split_labels
from semcentres.data.stored import decode
from semcentres.objectives.batch import Objective
from semcentres.recipe import check_temperature, find_source
from semcentres.settings import CentresSettings, CheckConfig, DataSettings

NO_CLASS = "(unlabelled)"
THRESHOLD = 0.95  # cosine above which two centres are near; see the audit of names


@dataclass(frozen=True)
class Seen:
    """One image as it was found.

    Args:
        id: its path in the data set, or its split and number.
        split: train, validation or test.
        class_name: `NO_CLASS` where it is not known.
        content: hash of the file, or of the pixels where there is none.
        size: width and height in pixels; None where it cannot be read.
        mode: Pillow's name for the kind of pixels.
        animated: whether the file holds further frames or pages, which are not taken.
        error: why it cannot be read.
    """

    id: str
    split: str
    class_name: str
    content: str = ""
    size: tuple[int, int] | None = None
    mode: str = ""
    animated: bool = False
    error: str | None = None


@dataclass(frozen=True)
class DataCheck:
    """What was found of a data set.

    Args:
        name: of the data set.
        origin: where it is.
        counts: class to split to number of images; unlabelled ones are the class `NO_CLASS`.
        unreadable: id of each unreadable file, and why.
        ignored: suffix to number of the files that are no images by their names.
        duplicates: ids of equal content that are in more than one split.
        widths: smallest, median and largest, in pixels.
        heights: likewise.
        modes: Pillow's name of a kind of pixels, and how many images are of it.
        animated: files that hold further frames or pages; the first one is taken.
        findings: of the class names under the chosen builder.
        problems: in a line each, what must be mended before training; none means that it may begin.
    """

    name: str
    origin: str
    counts: Mapping[str, Mapping[str, int]]
    unreadable: Mapping[str, str]
    ignored: Mapping[str, int]
    duplicates: Sequence[Sequence[str]]
    widths: Sequence[int]
    heights: Sequence[int]
    modes: Mapping[str, int]
    animated: int
    findings: Sequence[Finding]
    problems: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, and whether it is fit to train on, for JSON."""
        return {"fit": not self.problems, **asdict(self)}


def check_data(config: CheckConfig) -> DataCheck:
    """Read every image of a data set, and its class names as the builder will.

    Raises:
        InputError: the data set cannot even be listed.
    """
    found = find_source(config.data)
    seen = _look_at_files(found) if isinstance(found, FileSource) else _look_at_images(found)
    unreadable = {one.id: one.error for one in seen if one.error}
    duplicates = _duplicates(seen)
    findings, problems = _names(config.centres, found, config.seed)
    problems += [] if problems else _temperature(config, found)
    problems += _labels(config.data, found, config.seed)
    allowed = found.max_unreadable if isinstance(found, FileSource) else 0.0
    if len(unreadable) > allowed * len(seen):
        problems.append(
            f"unreadable files: {len(unreadable)} of {len(seen)}, more than"
            f" data.source.max_unreadable={allowed:g} of them"
        )
    if duplicates:
        problems.append(f"images in more than one split: {len(duplicates)}")
    sizes = [one.size for one in seen if one.size]
    result = DataCheck(
        found.name,
        found.origin,
        _counts(seen, found.class_names),
        unreadable,
        found.ignored if isinstance(found, FileSource) else {},
        duplicates,
        _spread([width for width, _ in sizes]),
        _spread([height for _, height in sizes]),
        dict(Counter(one.mode for one in seen if one.mode).most_common()),
        sum(one.animated for one in seen),
        findings,
        problems,
    )
    if config.out is not None:
        write_json(config.out, result.to_json())
    return result


def _look_at_files(found: FileSource) -> list[Seen]:
    splits = {"train": found.train, "validation": found.validation, "test": found.test}
    files = [(file, split) for split, files in splits.items() for file in files]

    def look(row: int) -> Seen:
        file, split = files[row]
        known = partial(Seen, file.id, split, _class(found.class_names, file.label))
        try:
            decode(file.path, found.size, found.channels)
            content = describe_file(file.path)["sha256"]
        except InputError as error:
            return known(error=str(error))
        return known(content, *_kind(file.path))

    return list(in_threads(look, [file.path for file, _ in files], "images read"))


def _kind(path: Path) -> tuple[tuple[int, int] | None, str, bool]:
    """Return size, mode and whether there are further frames, as far as Pillow can tell."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size, image.mode, getattr(image, "is_animated", False)
    except Exception:
        # The other decoder has read it.
        return None, "", False


def _look_at_images(found: Source) -> list[Seen]:
    """Return images that are in memory; numbers of their own are their ids."""
    own = len(found.train) - found.num_validation
    seen = []
    for split, images in (("train", found.train), ("test", found.test)):
        square = images.images.ndim == 4
        size = (images.images.shape[3], images.images.shape[2]) if square else None
        mode = MODES[found.channels] if square else ""
        for row, (digest, label) in enumerate(
            zip(images.digests, images.labels.tolist(), strict=True)
        ):
            name = _class(found.class_names, label)
            part = "validation" if split == "train" and row >= own else split
            id_ = images.ids[row] if images.ids else f"{split} {row}"
            seen.append(Seen(id_, part, name, digest, size, mode))
    return seen


def _class(names: Sequence[str], label: int) -> str:
    return NO_CLASS if label == UNLABELLED else names[label]


def _counts(seen: Sequence[Seen], names: Sequence[str]) -> dict[str, dict[str, int]]:
    counted = Counter((one.class_name, one.split) for one in seen)
    splits = [s for s in ("train", "validation", "test") if any(one.split == s for one in seen)]
    rows = [*names, *([NO_CLASS] if any(one.class_name == NO_CLASS for one in seen) else [])]
    return {name: {split: counted[name, split] for split in splits} for name in rows}


def _duplicates(seen: Sequence[Seen]) -> list[list[str]]:
    same: dict[str, list[Seen]] = {}
    for one in seen:
        if one.content:
            same.setdefault(one.content, []).append(one)
    return [[o.id for o in group] for group in same.values() if len({o.split for o in group}) > 1]


def _spread(numbers: Sequence[int]) -> list[int]:
    """Return the smallest, the median and the largest; nothing of nothing."""
    return [min(numbers), round(median(numbers)), max(numbers)] if numbers else []


def _names(
    settings: CentresSettings, found: Source | FileSource, seed: int
) -> tuple[Sequence[Finding], list[str]]:
    """Return what the audit says of the class names, and what would stop a training."""
    try:
        if settings.bank is not None:
            make_bank(settings, found.class_names, seed=seed)
            return (), []
        names = ClassNames(found.class_names)
        audit = audit_names(settings, names, tree=found.parents, threshold=THRESHOLD, seed=seed)
    except InputError as error:
        return (), [str(error)]
    faults = [finding for finding in audit.findings if finding.severity is Severity.FAULT]
    return audit.findings, [finding.message for finding in faults]


def _temperature(config: CheckConfig, found: Source | FileSource) -> list[str]:
    """Return what is wrong with the objective's temperature under these centres, if anything is."""
    try:
        objective: Objective = build(config.objective)
        bank = make_bank(config.centres, found.class_names, seed=config.seed, tree=found.parents)
        check_temperature(objective.temperature, bank, force=False)
    except InputError as error:
        return [str(error)]
    return []


def _labels(settings: DataSettings, found: Source | FileSource, seed: int) -> list[str]:
    """Return what is wrong with the number of labels, if anything is."""
    try:
        split_labels(
            found,
            labels_per_class=settings.labels_per_class,
            validation=settings.validation,
            seed=seed,
        )
    except InputError as error:
        return [str(error)]
    return []
