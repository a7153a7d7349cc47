"""Free text as a direction among the centres: what a bank's builder makes of words of no class.

Dimensions: d width of the centres.
"""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from centre_builders.bank import CentreBank
from centre_builders.changes import place
from centre_builders.errors import InputError
from centre_builders.protocol import CentreBuilder
from centre_builders.stored import rebuild
from centre_builders.vocabulary import Explains, check_name, fold


def text_vector(bank: CentreBank, text: str) -> Float32[np.ndarray, " d"]:
    """Return the unit vector of a text: a class's centre, else where `add` would put that name.

    The bank's own builder reads it, and the conditioning that was fitted on the class names is
    applied; the bank does not change.

    Args:
        bank: where the text is to be placed.
        text: a class name in any spelling that `fold` makes the same, or other words.

    Raises:
        InputError: the text is empty or of no known word, the bank's builder reads no text, or
            the files that it reads have changed.
    """
    text = check_name(text, "the text")
    row = {fold(name): row for row, name in enumerate(bank.names)}.get(fold(text))
    if row is not None:
        return np.asarray(bank.vectors[row])
    builder = rebuild(bank.provenance["builder"])
    if not (bank.provenance.get("independent") or text_readers(builder)):
        shown = ", ".join(bank.names[:20]) + (", ..." if len(bank.names) > 20 else "")
        raise InputError(
            f"{text!r} is no class, and {type(builder).__name__} reads no other text; give one of"
            f" {shown}, or train with centres=sentence or word2vec"
        )
    return np.asarray(place(bank, (text,), {})[0][0])


def text_readers(builder: CentreBuilder) -> list[Explains]:
    """Return the builder if it reads text, else those within it that do."""
    if isinstance(builder, Explains):
        return [builder]
    values: list[Any] = (
        [getattr(builder, f.name) for f in fields(builder)] if is_dataclass(builder) else []
    )
    several = [value if isinstance(value, list | tuple) else [value] for value in values]
    inner = [one for group in several for one in group if isinstance(one, CentreBuilder)]
    return [reader for one in inner for reader in text_readers(one)]
