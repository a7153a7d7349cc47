"""Classes that change: a bank with classes added, renamed or retired; no other centre moves.

Dimensions: K centres, n new ones, d width.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from centre_builders.bank import CentreBank
from centre_builders.building import check_descriptions
from centre_builders.conditioning import apply
from centre_builders.errors import InputError
from centre_builders.protocol import CentreBuilder, Extensible
from centre_builders.sphere import BLOCK, normalise
from centre_builders.stored import rebuild
from centre_builders.vocabulary import check_names


def add(
    bank: CentreBank,
    names: Sequence[str],
    *,
    descriptions: Mapping[str, str] | None = None,
    builder: CentreBuilder | None = None,
) -> CentreBank:
    """Return a bank with further classes; the old rows are the same to the last bit.

    A new name goes through the bank's own builder and the conditioning that was fitted on the
    old names. Builders whose rows depend on one another place it beside the old centres instead.

    Args:
        bank: what is there.
        names: new ones, each once.
        descriptions: for some new names, a text that text builders read in place of the name.
        builder: in place of the bank's own, as for class means of pictures.

    Raises:
        InputError: a name is there already, the builder cannot place it, or the files that the
            bank was built from have changed.
    """
    names = check_names(names)
    check_names((*bank.names, *names))
    told = descriptions or {}
    check_descriptions(told, names)
    vectors, texts = place(bank, names, told, builder)
    new_texts = {n: text for n, text in zip(names, texts, strict=True) if n != text}
    return _child(
        bank,
        {"added": list(names)},
        names=(*bank.names, *names),
        vectors=np.concatenate([bank.vectors, vectors]),
        texts={**bank.provenance.get("texts", {}), **new_texts},
    )


def place(
    bank: CentreBank,
    names: Sequence[str],
    descriptions: Mapping[str, str],
    builder: CentreBuilder | None = None,
) -> tuple[Float32[np.ndarray, "n d"], tuple[str, ...]]:
    """Return the unit centres that `add` gives new names, and the texts that they are read as.

    Arguments and errors as of `add`.
    """
    own = builder is None
    builder = rebuild(bank.provenance["builder"]) if builder is None else builder
    seed = int(bank.provenance["seed"])
    # Where rows do not depend on one another, a bank's own new rows go the way of its old ones.
    if isinstance(builder, Extensible) and not (own and bank.provenance.get("independent")):
        # What a class is read as, and not what it may be called by now.
        texts = tuple(descriptions.get(name, name) for name in names)
        source = bank.provenance["source"]
        placed = builder.extend(bank.vectors, bank.texts, texts, seed=seed, source=source)
    else:
        raw = builder.build(names, seed=seed, descriptions=descriptions)
        if not raw.independent:
            raise InputError(
                f"{type(builder).__name__} has no place for a further class: its centres depend on"
                " one another; build the bank anew with all names, or give another builder"
            )
        if own:
            _check_same_source(raw.source, bank.provenance["source"])
        placed, texts = apply(raw.vectors, names, bank.conditioning), raw.texts
    if placed.shape[1] != bank.dimension:
        raise InputError(
            f"the new centres have {placed.shape[1]} dimensions, the bank {bank.dimension};"
            " give vectors from the bank's own space"
        )
    return normalise(placed).astype(np.float32), texts


def rename(bank: CentreBank, new_names: Mapping[str, str]) -> CentreBank:
    """Return a bank in which classes have other names and the same centres.

    Args:
        bank: what is there.
        new_names: old name to new name.

    Raises:
        InputError: an old name is not there, or a new one is bad or taken.
    """
    bank.rows_of(tuple(new_names))
    names = check_names(new_names.get(name, name) for name in bank.names)
    # The text that a centre was made from is still the old one.
    pairs = zip(names, bank.texts, strict=True)
    texts = {name: text for name, text in pairs if name != text}
    return _child(
        bank, {"renamed": dict(new_names)}, names=names, vectors=bank.vectors, texts=texts
    )


def retire(bank: CentreBank, names: Sequence[str]) -> CentreBank:
    """Return a bank without some classes.

    Raises:
        InputError: a name is not there, or none would be left.
    """
    gone = set(bank.rows_of(check_names(names)))
    rows = [row for row in range(len(bank.names)) if row not in gone]
    if not rows:
        raise InputError("retiring all classes leaves no centre; keep one at least")
    kept = tuple(bank.names[row] for row in rows)
    left = set(kept)
    texts = {n: t for n, t in bank.provenance.get("texts", {}).items() if n in left}
    return _child(
        bank, {"retired": list(names)}, names=kept, vectors=bank.vectors[rows], texts=texts
    )


def close_pairs(
    bank: CentreBank, names: Sequence[str], *, degrees: float
) -> list[tuple[str, str, float]]:
    """Return (name, other name, angle in degrees) where a centre is too close to another.

    Args:
        bank: holds all of them.
        names: whose centres are looked at; new ones, after `add`.
        degrees: angle below which two centres are close, in (0, 180]. Where the old centres have
            axes of their own, which new ones have not, it is the angle of what they mean.
    """
    shares = [step.facts["share"] for step in bank.conditioning if step.step == "own_axes"]
    scale = np.full(len(bank.names), math.prod(math.sqrt(1 - share) for share in shares))
    rows = bank.rows_of(names)
    looked_at = set(rows)
    scale[list(rows)] = 1
    found = []
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        cosines = bank.vectors[part].astype(np.float64) @ bank.vectors.T / scale
        for i, j in zip(*np.nonzero(cosines > math.cos(math.radians(degrees))), strict=True):
            row = part[int(i)]
            # A pair of two new names is named once.
            if row != j and not (int(j) in looked_at and j > row):
                angle = math.degrees(math.acos(min(1.0, float(cosines[i, j]))))
                found.append((bank.names[row], bank.names[int(j)], angle))
    return sorted(found, key=lambda pair: pair[2])


def _child(
    bank: CentreBank,
    change: Mapping[str, Any],
    *,
    names: tuple[str, ...],
    vectors: Float[np.ndarray, "K d"],
    texts: Mapping[str, str],
) -> CentreBank:
    history = [*bank.provenance.get("history", []), {"parent": bank.fingerprint, **change}]
    provenance = {**bank.provenance, "texts": dict(texts), "history": history}
    return replace(bank, names=names, vectors=vectors, provenance=provenance)


def _check_same_source(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    changed = [key for key in then if now.get(key) != then[key]]
    if changed:
        key = changed[0]
        raise InputError(
            f"the bank was built from {key} {then[key]!r}, there is {now.get(key)!r} now;"
            " put the former back, or build the bank anew"
        )
