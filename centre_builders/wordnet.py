"""Class names in WordNet: their noun senses, and the hierarchy of all nouns.

WordNet (Fellbaum 1998; its licence allows any use) is read from the files that Debian's
`wordnet-base`, Princeton or nltk's data hold. nltk resolves names and is needed for that alone:
the hypernyms of all 82,115 noun synsets come from `data.noun` in one pass, as nltk would take ten
seconds and more to make an object of each.
"""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

from centre_builders.errors import InputError
from centre_builders.taxonomy import Placed, Taxonomy
from centre_builders.vocabulary import fold, near

DEBIAN = "/usr/share/wordnet"
# Of the noun synset on a line of data.noun (wndb(5WN)): each hypernym or instance hypernym.
HYPERNYM = re.compile(r" @i? (\d{8}) n")


@dataclass(frozen=True)
class Sense:
    """One meaning of a noun.

    Args:
        key: the synset, such as "cardigan.n.01": a lemma and the number of its sense.
        definition: as WordNet gives it.
        count: how often the noun has this sense in WordNet's tagged texts; 0 for most.
    """

    key: str
    definition: str
    count: int


def noun_senses(name: str, *, folder: str | None = None) -> list[Sense]:
    """Return the senses of a class name as a noun, most frequent first; none if it has none.

    The first is the one that the hierarchy takes. Looked up are, in turn, the alternatives at
    "/" as a whole ("T-shirt/top": T-shirt, then top), and then the last word of each.

    Args:
        name: of a class.
        folder: of WordNet's files; see `place_in_wordnet`.

    Raises:
        InputError: WordNet is not there.
    """
    reader = _reader(_folder(folder))
    word, synsets, _ = _look_up(reader, name)
    lemmas = {word, reader.morphy(word, "n")}
    return [
        Sense(
            synset.name(),
            synset.definition(),
            sum(lemma.count() for lemma in synset.lemmas() if lemma.name().lower() in lemmas),
        )
        for synset in synsets
    ]


def place_in_wordnet(
    names: Sequence[str], *, senses: Mapping[str, str] | None = None, folder: str | None = None
) -> Placed:
    """Return where the names stand among WordNet's nouns.

    Args:
        names: of classes.
        senses: for some names the synset to take, as {"cardigan": "cardigan.n.02"}; for the
            others it is the first of `noun_senses`.
        folder: of WordNet's files; None takes that in the environment's WNSEARCHDIR, else
            Debian's, else nltk's.

    Returns:
        The synsets as `texts`; in `source`, under "by_last_word", the names of which WordNet
        knows the last word only.

    Raises:
        InputError: WordNet is not there, or names have no noun sense or share one.
    """
    home = _folder(folder)
    reader, (taxonomy, digest) = _reader(home), _nouns(home)
    chosen = {fold(name): key for name, key in (senses or {}).items()}
    found, by_last_word = {}, {}
    for name in names:
        if fold(name) in chosen:
            found[name] = _synset(reader, name, chosen[fold(name)])
            continue
        word, synsets, whole = _look_up(reader, name)
        found[name] = synsets[0] if synsets else None
        if synsets and not whole:
            by_last_word[name] = word
    _check_found(reader, [name for name in names if found[name] is None])
    texts = tuple(found[name].name() for name in names)
    _check_distinct(names, texts)
    rows = taxonomy.rows_of([f"{found[name].offset():08d}" for name in names])
    source = {"wordnet": reader.get_version(), "sha256": digest, "by_last_word": by_last_word}
    return Placed(taxonomy, rows, texts, source)


def _look_up(reader: Any, name: str) -> tuple[str, list[Any], bool]:  # noqa: ANN401
    """Return the word that WordNet knows, its synsets, and whether it is a whole alternative."""
    parts = [fold(part) for part in name.split("/")]
    spellings = [
        re.sub(gap, mark, part)
        for part in parts
        for gap, mark in ((" ", "_"), (" ", "-"), ("[ -]", "_"))
    ]
    last = [word for part in parts for word in re.findall(r"\w+", part)[-1:]]
    for word in filter(None, dict.fromkeys(spellings + last)):
        if synsets := reader.synsets(word, pos="n"):
            return word, synsets, word in spellings
    return "", [], False


def _synset(reader: Any, name: str, key: str) -> Any:  # noqa: ANN401
    from nltk.corpus.reader.wordnet import WordNetError

    try:
        synset = reader.synset(key)
    except (WordNetError, ValueError):
        synset = None
    if synset is None or synset.pos() != "n":
        known = ", ".join(other.name() for other in _look_up(reader, name)[1])
        raise InputError(
            f"senses gives {name!r} the synset {key!r}, which WordNet has not as a noun;"
            f" it has {known or 'none of that name'}"
        )
    return synset


def _check_found(reader: Any, lacking: Sequence[str]) -> None:  # noqa: ANN401
    if not lacking:
        return
    said = [repr(name) for name in lacking[:10]]
    for place, name in enumerate(lacking[:3]):
        # Near ones only among words of that initial and length: there are 117,000.
        alike = [
            word
            for word in reader.all_lemma_names("n")
            if word[:1] == fold(name)[:1] and abs(len(word) - len(name)) < 3
        ]
        said[place] += near(name, alike)
    raise InputError(
        f"WordNet has no noun for {'; '.join(said)}; correct the spelling, choose a synset by"
        " centres.builder.senses, or give a hierarchy of your own by centres.builder.tree"
    )


def _check_distinct(names: Sequence[str], texts: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for name, text in zip(names, texts, strict=True):
        if first.setdefault(text, name) != name:
            raise InputError(
                f"{first[text]!r} and {name!r} are both {text} in WordNet; choose another synset"
                " by centres.builder.senses, or give a hierarchy by centres.builder.tree"
            )


@cache
def _nouns(home: str) -> tuple[Taxonomy, str]:
    """Return the noun synsets by their eight digits, and the SHA-256 of the file."""
    with _reader(home).open("data.noun") as file:
        text = file.read()
    entries = (line.partition("|")[0] for line in text.splitlines() if line[:1].isdigit())
    taxonomy = Taxonomy.from_parents({entry[:8]: HYPERNYM.findall(entry) for entry in entries})
    return taxonomy, sha256(text.encode()).hexdigest()


def _folder(folder: str | None) -> str:
    """Return the folder of WordNet's files, or the name of nltk's archive of them."""
    given = folder or os.environ.get("WNSEARCHDIR")
    for home in [given] if given else [DEBIAN]:
        if Path(home).expanduser().joinpath("data.noun").is_file():
            return str(Path(home).expanduser().resolve())
    if not given:
        import nltk.data

        for place in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
            with suppress(LookupError):
                return str(nltk.data.find(place))
    raise InputError(
        f"{given or DEBIAN} holds no WordNet (data.noun); install it (apt-get install"
        " wordnet-base), name its folder by centres.builder.wordnet, or give a hierarchy of"
        " your own by centres.builder.tree"
    )


@cache
def _reader(home: str) -> Any:  # noqa: ANN401
    """Return nltk's reader; it reads Debian's files, which lack two of those that it asks for."""
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader, WordNetError

    class Reader(WordNetCorpusReader):  # type: ignore[misc]
        """A reader without names of lexicographers' files and without older versions' synsets."""

        def open(self, file: str) -> Any:  # noqa: ANN401
            if file == "lexnames":
                return StringIO("".join(f"{number:02d}\tunknown\t0\n" for number in range(45)))
            return super().open(file)

        def map_wn(self, version: str = "wordnet") -> None:
            """Map no synsets of another version, which would take index.sense."""

    # nltk opens files below its data path only.
    if home not in nltk.data.path:
        nltk.data.path.append(home)
    try:
        # False, as None would warn that other languages than English are not there.
        return Reader(home, False)
    except (OSError, LookupError, ValueError, WordNetError) as error:
        raise InputError(
            f"{home} holds no whole WordNet ({error}); install it anew (apt-get install"
            " --reinstall wordnet-base)"
        ) from error
