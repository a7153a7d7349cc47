"""The checks of the audit, each from names or centres to findings.

Dimensions: K classes, d width of the centres.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from centre_builders.class_names import ClassNames, same_names
from centre_builders.errors import InputError
from centre_builders.geometry import SAME, nearest_pairs
from centre_builders.vocabulary import Resolution, check_name

MAX_PAIRS = 1_000  # near pairs that are named
DOMINANT = 0.75  # share of a name's counted uses that makes one sense the obvious one
DESCRIBE = "give each a description of its own, beside its name in the CSV or JSON file of names"

Kind = Literal[
    "bad name", "same name", "unknown name", "unknown word", "cut text", "refusal",
    "same centre", "near centres", "same text", "homograph", "not checked",
]  # fmt: skip
Sense = Mapping[str, Any]


class Severity(StrEnum):
    """A fault makes training wrong or impossible; a note is for information."""

    FAULT = "fault"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Args:
        severity: see `Severity`.
        kind: of what it is.
        names: the classes concerned; none where all are.
        message: one line that names the culprit.
        remedy: what to do.
    """

    severity: Severity
    kind: Kind
    names: tuple[str, ...]
    message: str
    remedy: str


def bad_names(names: ClassNames) -> Iterator[Finding]:
    """Give a fault for each name that cannot name a class, and for each stray description."""
    if not names.names:
        yield Finding(Severity.FAULT, "bad name", (), "there are no class names", "give one")
    for row, name in enumerate(names.names):
        try:
            check_name(name, names.place(row))
        except InputError as error:
            yield refusal(error, (name,), "bad name")
    for stray in sorted(set(names.descriptions) - set(names.names)):
        said = f"there is a description of {stray!r}, which is not a class name"
        yield Finding(Severity.FAULT, "bad name", (stray,), said, "correct the name")


def twice(names: ClassNames) -> Iterator[Finding]:
    """Give a fault for each name that is there more than once, after folding."""
    for rows in same_names(names.names):
        said = " and ".join(f"{names.names[row]!r} ({names.place(row)})" for row in rows)
        yield Finding(
            Severity.FAULT,
            "same name",
            tuple(names.names[row] for row in rows),
            f"{said} are one name; case, spaces and underscores do not count",
            "rename all but one, or set number_duplicates=true",
        )


def reading(name: str, read: Resolution) -> Iterator[Finding]:
    """Give what a builder does not understand of a class."""
    near = "; ".join(f"{word!r} is near {', '.join(n)}" for word, n in read.near.items())
    hint = f" ({near})" if near else ""
    words = ", ".join(map(repr, read.unknown))
    if not read.tokens:
        yield Finding(
            Severity.FAULT,
            "unknown name",
            (name,),
            f"no word of {read.text!r} is in {read.vocabulary}{hint}",
            "correct the spelling, describe the class in other words, or take another builder",
        )
    elif read.unknown:
        yield Finding(
            Severity.WARNING,
            "unknown word",
            (name,),
            f"{name!r} is read without {words}, not in {read.vocabulary}{hint}",
            "correct the spelling, or describe the class in other words",
        )
    if read.cut:
        yield Finding(
            Severity.WARNING,
            "cut text",
            (name,),
            f"the text of {name!r} is {read.cut} tokens longer than {read.vocabulary} reads",
            "shorten the description",
        )


def homographs(senses: Mapping[str, Sequence[Sense]]) -> Iterator[Finding]:
    """Give a note for each name with several noun senses of which none is the obvious one.

    Args:
        senses: of each name; the obvious sense has three quarters of the counted uses or more.
    """
    for name, found in senses.items():
        counts = [sense["count"] for sense in found]
        if len(found) > 1 and not max(counts) >= DOMINANT * max(1, sum(counts)):
            said = "; ".join(f"{sense['key']}: {sense['definition']}" for sense in found[:3])
            yield Finding(
                Severity.NOTE,
                "homograph",
                (name,),
                f"{name!r} has {len(found)} noun senses, none obvious ({said})",
                "describe the class, if another sense than its own is the usual one",
            )


def look_up_senses(names: Sequence[str]) -> tuple[dict[str, tuple[Sense, ...]], list[Finding]]:
    """Return WordNet's noun senses of each name; or a note, where there is no WordNet."""
    from centre_builders.wordnet import noun_senses

    try:
        return {name: tuple(asdict(s) for s in noun_senses(name)) for name in names}, []
    except ImportError as error:
        said, remedy = f"{error}", "pip install nltk"
    except InputError as error:
        lacking = refusal(error)
        said, remedy = lacking.message, lacking.remedy
    said = f"WordNet not found: homographs not checked ({said})"
    return {}, [Finding(Severity.NOTE, "not checked", (), said, remedy)]


def close_pairs(
    centres: Float[np.ndarray, "K d"],
    names: Sequence[str],
    read: Mapping[str, Resolution],
    threshold: float,
) -> Iterator[Finding]:
    """Give a fault for two classes with one centre, a warning for two whose centres are near.

    Args:
        centres: unit rows.
        names: of the rows.
        read: how each name is read.
        threshold: cosine above which two centres are near.
    """
    # At the precision of a bank, so that the audit and the bank agree on what coincides.
    rows = centres.astype(np.float32).astype(np.float64)
    pairs = [pair for pair in nearest_pairs(rows, MAX_PAIRS) if pair[2] > min(threshold, SAME)]
    for i, j, cosine in pairs:
        tokens = read[names[i]].tokens
        one_text = bool(tokens) and tokens == read[names[j]].tokens
        how = f"are one text to the builder ({' '.join(tokens)})" if one_text else "are near"
        same = cosine > SAME
        yield Finding(
            Severity.FAULT if same else Severity.WARNING,
            "same centre" if same else "near centres",
            (names[i], names[j]),
            f"{names[i]!r} and {names[j]!r} {how}, cosine {cosine:.3f}",
            DESCRIBE if tokens else "take another builder or other vectors, or fewer classes",
        )
    if len(pairs) == MAX_PAIRS:
        said = f"only the {MAX_PAIRS} nearest pairs are named"
        yield Finding(Severity.NOTE, "not checked", (), said, "mend these, and audit again")


def same_texts(
    names: Sequence[str], read: Mapping[str, Resolution], named: Sequence[Finding]
) -> Iterator[Finding]:
    """Give a warning for classes that are one text to the builder, but whose centres differ.

    Such centres come of a builder that moves centres apart: their places have no meaning.

    Args:
        names: that have centres.
        read: how each is read.
        named: findings so far; pairs of centres that are named in them are left out.
    """
    pairs = {found.names for found in named}
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        alike.setdefault(read[name].tokens, []).append(name)
    for tokens, group in alike.items():
        if tokens and len(group) > 1 and tuple(group[:2]) not in pairs:
            said = f"{', '.join(map(repr, group))} are one text to the builder ({' '.join(tokens)})"
            yield Finding(Severity.WARNING, "same text", tuple(group), said, DESCRIBE)


def refusal(error: InputError, names: tuple[str, ...] = (), kind: Kind = "refusal") -> Finding:
    """Return the fault that an error tells; it ends with the remedy, after a semicolon."""
    message, _, remedy = f"; {error}".rpartition("; ")
    return Finding(Severity.FAULT, kind, names, message.removeprefix("; ") or remedy, remedy)
