"""From class names to text to words, by one policy.

A name is a string. It is kept as given; for comparison it is folded: NFC, case folded, runs of
spaces and underscores to one space. Two names that fold alike are one name given twice.

For a vocabulary of words, alternatives are separated by "/" ("T-shirt/top"), and each is looked
up as one token if the vocabulary has it (as given, in lower case, joined by "_" or "-"), else as
its words at spaces and underscores, a hyphenated word as one token if it is known and else as
its parts. Other punctuation is dropped.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from centre_builders.errors import InputError


def fold(name: str) -> str:
    """Return what two spellings of one name share.

    >>> fold("Ankle_Boot") == fold("ankle  boot")
    True
    """
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFC", name).casefold()).strip()


def check_names(names: Iterable[object]) -> tuple[str, ...]:
    """Return the names, NFC, if each can name a class.

    Raises:
        InputError: no names, one that is not text, is empty, has control characters, or is given
            twice; the message names it.
    """
    checked: list[str] = []
    seen: dict[str, str] = {}
    for number, name in enumerate(names):
        checked.append(_check_name(number, name))
        folded = fold(checked[-1])
        if folded in seen:
            raise InputError(
                f"class names {seen[folded]!r} and {checked[-1]!r} are the same name twice;"
                " remove one, or describe them apart"
            )
        seen[folded] = checked[-1]
    if not checked:
        raise InputError("there are no class names; give at least one")
    return tuple(checked)


def read_names(path: str | Path) -> tuple[str, ...]:
    """Return the class names of a text file, one a line, or of a JSON list.

    Raises:
        InputError: the file is missing, empty, not UTF-8, or holds a bad name.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno} is not JSON ({error.msg})") from error
    if not isinstance(names, list):
        raise InputError(f"{path} holds no JSON list; write the names as a list of strings")
    if path.suffix != ".json":
        names = [line.strip() for line in names if line.strip()]
    if not names:
        raise InputError(f"{path} holds no class names; write one a line")
    try:
        return check_names(names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def words_of(name: str, known: Callable[[str], bool]) -> list[str]:
    """Return the words of a name that a vocabulary knows, by the module's policy.

    >>> words_of("T-shirt/top", {"t-shirt", "top"}.__contains__)
    ['t-shirt', 'top']
    >>> words_of("Ankle boot", {"ankle", "boot"}.__contains__)
    ['ankle', 'boot']
    """
    return [word for part in name.split("/") for word in _words_of_part(part.strip(), known)]


def candidates(name: str) -> list[str]:
    """Return every token that `words_of` may look up for a name."""
    asked: list[str] = []

    def note(token: str) -> bool:
        asked.append(token)
        return False

    words_of(name, note)
    return asked


def _words_of_part(part: str, known: Callable[[str], bool]) -> list[str]:
    whole = _first_known(_spellings(part), known)
    if whole is not None:
        return [whole]
    words: list[str] = []
    for token in re.split(r"[\s_]+", part):
        clean = re.sub(r"^[^\w]+|[^\w]+$", "", token)
        found = _first_known((clean, clean.lower()), known)
        pieces = [found] if found else re.split(r"[^\w]+", clean)
        hits = (_first_known((piece, piece.lower()), known) for piece in pieces if piece)
        words += [hit for hit in hits if hit is not None]
    return words


def _spellings(part: str) -> Sequence[str]:
    joined = [re.sub(r"\s+", mark, part) for mark in ("_", "-")]
    return [part, part.lower(), *joined, *(word.lower() for word in joined)]


def _first_known(tokens: Iterable[str], known: Callable[[str], bool]) -> str | None:
    return next((token for token in tokens if token and known(token)), None)


def _check_name(number: int, name: object) -> str:
    if not isinstance(name, str):
        kind = type(name).__name__
        raise InputError(f"class {number} is {name!r}, of type {kind}, not text; quote it")
    text = unicodedata.normalize("NFC", name)
    if not fold(text):
        raise InputError(f"class {number} has an empty name; give it one or remove it")
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs")), None)
    if bad is not None:
        raise InputError(
            f"class {number} ({text!r}) holds the invisible character U+{ord(bad):04X}; remove it"
        )
    return text
