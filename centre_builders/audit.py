"""What may go wrong with class names, found before anything is trained on them.

The audit collects all faults and raises for none of them. A name that cannot be placed is left
out, and the rest is built and conditioned as the bank will be. A builder that reads text says how
by `explain`; where builders are within a builder, theirs are asked.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from typing import Any

from centre_builders.building import plan
from centre_builders.class_names import ClassNames
from centre_builders.conditioning import Step, condition
from centre_builders.errors import InputError
from centre_builders.findings import (
    Finding,
    Sense,
    Severity,
    bad_names,
    close_pairs,
    homographs,
    look_up_senses,
    reading,
    refusal,
    same_texts,
    twice,
)
from centre_builders.free_text import text_readers
from centre_builders.protocol import CentreBuilder, RawCentres
from centre_builders.vocabulary import Explains, Resolution


@dataclass(frozen=True)
class ClassAudit:
    """How one class is read.

    Args:
        name: as the source gives it.
        place: where the source gives it.
        resolution: the text and its tokens; no tokens where the builder reads no text.
        senses: WordNet's noun senses of the name, or of its last word where WordNet lacks the
            whole (key, definition, count of uses); for builders that read text, and classes
            without a description.
    """

    name: str
    place: str
    resolution: Resolution
    senses: tuple[Sense, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What the audit of a set of class names found.

    Args:
        classes: one a name, in the source's order.
        findings: faults first, notes last.
        threshold: cosine above which two centres are near.
    """

    classes: tuple[ClassAudit, ...]
    findings: tuple[Finding, ...]
    threshold: float

    @property
    def num_faults(self) -> int:
        """How many findings are faults."""
        return sum(finding.severity is Severity.FAULT for finding in self.findings)

    @property
    def safe(self) -> bool:
        """Whether nothing was found that makes training wrong or impossible."""
        return self.num_faults == 0

    def to_json(self) -> dict[str, Any]:
        """Return all of it, and whether it is safe, for JSON."""
        return {"safe": self.safe, "num_faults": self.num_faults, **asdict(self)}


def audit(
    names: ClassNames,
    builder: CentreBuilder,
    *,
    threshold: float = 0.95,
    seed: int = 0,
    dimension: int | None = None,
    remove_mean: bool | None = None,
    steps: Sequence[Step] = (),
) -> Audit:
    """Return what is wrong, doubtful or worth knowing about class names under a builder.

    A fault is a name that no bank takes, a name of which the builder knows nothing, two classes
    with one centre, or a builder's refusal.

    Args:
        names: also bad ones.
        builder: of the bank to be.
        threshold: cosine of two centres, after conditioning, above which they are near; in (0, 1].
        seed: as for `build_bank`, like all that follow.
        dimension: of the centres.
        remove_mean: whether to remove the mean; None leaves it to the builder.
        steps: further conditioning.

    Raises:
        InputError: the threshold is no such cosine.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold={threshold} is no cosine in (0, 1]; take 0.95")
    names = _composed(names)
    findings = [*bad_names(names), *twice(names)]
    bad = {name for found in findings if found.kind == "bad name" for name in found.names}
    usable = [name for name in dict.fromkeys(names.names) if name not in bad]
    readers = text_readers(builder)
    read, more = _read(readers, usable, names.descriptions)
    unknown = {name for found in more if found.kind == "unknown name" for name in found.names}
    placed = [name for name in read if name not in unknown]
    undescribed = [name for name in placed if readers and name not in names.descriptions]
    senses, notes = look_up_senses(undescribed)
    # What is left of several classes may be one, which has no place without its mean.
    if len(placed) > 1 or placed == list(names.names):
        how = partial(plan, dimension=dimension, remove_mean=remove_mean, steps=steps)
        more += _centres(builder, placed, names.descriptions, read, how, seed, threshold)
    more += [*same_texts(placed, read, more), *notes, *homographs(senses)]
    classes = tuple(
        ClassAudit(name, names.place(row), read.get(name, Resolution(name)), senses.get(name, ()))
        for row, name in enumerate(names.names)
    )
    order = list(Severity)
    ranked = sorted([*findings, *more], key=lambda found: order.index(found.severity))
    return Audit(classes, tuple(ranked), threshold)


def _composed(names: ClassNames) -> ClassNames:
    """Return the names, NFC, as a bank has them."""
    compose = partial(unicodedata.normalize, "NFC")
    descriptions = {compose(name): text for name, text in names.descriptions.items()}
    return replace(names, names=tuple(map(compose, names.names)), descriptions=descriptions)


def _read(
    readers: Sequence[Explains], names: Sequence[str], descriptions: Mapping[str, str]
) -> tuple[dict[str, Resolution], list[Finding]]:
    if not readers:
        return {name: Resolution(name) for name in names}, []
    try:
        told = [reader.explain(names, descriptions) for reader in readers]
    except InputError as error:
        return {}, [refusal(error)]
    found = [f for one in told for pair in zip(names, one, strict=True) for f in reading(*pair)]
    read = {n: reduce(_join, each) for n, *each in zip(names, *told, strict=True)}
    return read, found


def _join(one: Resolution, other: Resolution) -> Resolution:
    """Return how two builders read one text."""
    return Resolution(
        one.text,
        one.tokens + other.tokens,
        tuple(dict.fromkeys(one.unknown + other.unknown)),
        {**one.near, **other.near},
        max(one.cut, other.cut),
        f"{one.vocabulary}, {other.vocabulary}",
    )


def _centres(
    builder: CentreBuilder,
    names: Sequence[str],
    descriptions: Mapping[str, str],
    read: Mapping[str, Resolution],
    how: Callable[[RawCentres, int], list[Step]],
    seed: int,
    threshold: float,
) -> list[Finding]:
    described = {name: descriptions[name] for name in names if name in descriptions}
    try:
        raw = builder.build(names, seed=seed, descriptions=described)
        centres, _ = condition(raw.vectors, names, how(raw, len(names)))
    except InputError as error:
        return [refusal(error)]
    return list(close_pairs(centres, names, read, threshold))
