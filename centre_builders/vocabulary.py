"""From class names to text to words, by one policy.

A name is a string. It is kept as given; for comparison it is folded: NFC, case folded, runs of
spaces and underscores to one space. Two names that fold alike are one name given twice.

For a vocabulary of words, alternatives are separated by "/" ("T-shirt/top"), and each is looked
up as one token if the vocabulary has it (as given, in lower case, joined by "_" or "-"), else as
its words at spaces and underscores, a hyphenated word as one token if it is known and else as
its parts. Other punctuation is dropped.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Protocol, runtime_checkable

from centre_builders.errors import InputError

COMPARED = 400_000  # words of a vocabulary that a spelling is compared with
SUGGESTED = 200  # words for which spellings are looked for
FREQUENT = 30_000  # leading words, which may be run together in an unknown one


@dataclass(frozen=True)
class Resolution:
    """How a builder reads one class.

    Args:
        text: what it reads: the name, or the description in its place.
        tokens: what its vocabulary has for the text, in order; none where it knows nothing.
        unknown: words that the vocabulary lacks; they are left out.
        near: for some unknown words, known spellings, likeliest first.
        cut: number of tokens beyond the model's limit; they are left out.
        vocabulary: its name.
    """

    text: str
    tokens: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    near: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cut: int = 0
    vocabulary: str = ""


@runtime_checkable
class Explains(Protocol):
    """A builder that reads text, and can say how before it builds."""

    def explain(
        self, names: Sequence[str], descriptions: Mapping[str, str] | None = None
    ) -> list[Resolution]:
        """Return how each name is read, also of names that `build` would refuse.

        Args:
            names: class names.
            descriptions: for some names, a text to read in place of the name.
        """
        ...


def fold(name: str) -> str:
    """Return what two spellings of one name share.

    >>> fold("Ankle_Boot") == fold("ankle  boot")
    True
    """
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFC", name).casefold()).strip()


def near(name: str, known: Sequence[str]) -> str:
    """Return " (near: ...)" with the nearest spellings, "" where there is none."""
    folded = {fold(other): other for other in known}
    found = get_close_matches(fold(name), folded, n=3)
    return f" (near: {', '.join(folded[key] for key in found)})" if found else ""


def check_names(names: Iterable[object]) -> tuple[str, ...]:
    """Return the names, NFC, if each can name a class.

    Raises:
        InputError: no names, one that is not text, is empty, has control characters, or is given
            twice; the message names it.
    """
    if isinstance(names, str):  # its letters would be taken for names
        raise InputError(f"class names are a list; write [{names!r}]")
    checked: list[str] = []
    seen: dict[str, str] = {}
    for number, name in enumerate(names):
        checked.append(check_name(name, f"class {number}"))
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


def check_name(name: object, place: str) -> str:
    """Return a name, NFC, if it can name a class.

    Args:
        name: anything.
        place: where it stands, for the message: "class 3" or "names.txt:4".

    Raises:
        InputError: it is not text, is empty, or has control characters.
    """
    if not isinstance(name, str):
        kind = type(name).__name__
        raise InputError(f"{place} is {name!r}, of type {kind}, not text; quote it")
    text = unicodedata.normalize("NFC", name)
    if not fold(text):
        raise InputError(f"{place} has an empty name; give it one or remove it")
    bad = next((c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs")), None)
    if bad is not None:
        raise InputError(
            f"{place} ({text!r}) holds the invisible character U+{ord(bad):04X}; remove it"
        )
    return text


def words_of(name: str, known: Callable[[str], bool]) -> list[str]:
    """Return the words of a name that a vocabulary knows, by the module's policy.

    >>> words_of("T-shirt/top", {"t-shirt", "top"}.__contains__)
    ['t-shirt', 'top']
    >>> words_of("Ankle boot", {"ankle", "boot"}.__contains__)
    ['ankle', 'boot']
    """
    return [word for _, word in look_up(name, known) if word is not None]


def look_up(name: str, known: Callable[[str], bool]) -> list[tuple[str, str | None]]:
    """Return the pieces of a name, each with the vocabulary's word, None where it has none.

    >>> look_up("polar bjear", {"polar"}.__contains__)
    [('polar', 'polar'), ('bjear', None)]
    """
    return [pair for part in name.split("/") for pair in _look_up_part(part.strip(), known)]


def candidates(name: str) -> list[str]:
    """Return every token that `words_of` may look up for a name."""
    asked: list[str] = []

    def note(token: str) -> bool:
        asked.append(token)
        return False

    words_of(name, note)
    return asked


def near_spellings(words: Iterable[str], vocabulary: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return up to three known spellings of each unknown word, likeliest first.

    Two frequent words run together ("golfcart") are given apart, before words that differ in a
    few letters. To bound the time (about 0.1 s a word), this is done for the first 200 words,
    against the first 400,000 of the vocabulary, which in common files are the most frequent.

    Args:
        words: that the vocabulary lacks.
        vocabulary: its words, the most frequent first.
    """
    compared = vocabulary[:COMPARED]
    rank = {word: place for place, word in enumerate(vocabulary[:FREQUENT])}
    return {
        word: (*_run_together(word.lower(), rank), *_few_letters_off(word.lower(), compared))[:3]
        for word in list(dict.fromkeys(words))[:SUGGESTED]
    }


def _run_together(word: str, rank: Mapping[str, int]) -> list[str]:
    """Return a word's split into two frequent words of three letters or more, if there is one."""
    splits = ((word[:i], word[i:]) for i in range(3, len(word) - 2))
    known = [pair for pair in splits if pair[0] in rank and pair[1] in rank]
    return (
        [" ".join(min(known, key=lambda pair: max(map(rank.__getitem__, pair))))] if known else []
    )


def _few_letters_off(word: str, vocabulary: Sequence[str]) -> list[str]:
    # difflib alone takes a second a word; gensim's compiled distance leaves it little to rank.
    from gensim.similarities.fastss import editdist

    limit = max(2, len(word) // 4)
    lengths = range(len(word) - limit, len(word) + limit + 1)
    near = [w for w in vocabulary if len(w) in lengths and editdist(word, w, limit) <= limit]
    return get_close_matches(word, near, n=3)


def _look_up_part(part: str, known: Callable[[str], bool]) -> list[tuple[str, str | None]]:
    whole = _first_known(_spellings(part), known)
    if whole is not None:
        return [(part, whole)]
    pairs: list[tuple[str, str | None]] = []
    for token in re.split(r"[\s_]+", part):
        clean = re.sub(r"^[^\w]+|[^\w]+$", "", token)
        found = _first_known((clean, clean.lower()), known)
        pieces = [found] if found else filter(None, re.split(r"[^\w]+", clean))
        pairs += [(piece, _first_known((piece, piece.lower()), known)) for piece in pieces]
    return pairs


def _spellings(part: str) -> Sequence[str]:
    joined = [re.sub(r"\s+", mark, part) for mark in ("_", "-")]
    return [part, part.lower(), *joined, *(word.lower() for word in joined)]


def _first_known(tokens: Iterable[str], known: Callable[[str], bool]) -> str | None:
    return next((token for token in tokens if token and known(token)), None)
