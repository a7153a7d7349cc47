"""Convert gensim's native word vectors, which are a pickle, to word2vec's binary format.

    python -m centre_builders.import_vectors FILE.kv OUT.bin --trust-pickle

The only place that opens a pickle: opening one runs whatever code its maker put into it, as you.
Nothing else of this package reads one, and no configuration, bank or run leads here.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from centre_builders.artefact import write_file
from centre_builders.errors import InputError, refused_unless


def import_vectors(source: Path, target: Path) -> int:
    """Write the vectors of a file of gensim's that is trusted, and return how many there are.

    Args:
        source: written by `KeyedVectors.save`; what lies beside it is read too.
        target: ends in .bin; written whole or not at all.

    Raises:
        InputError: the source holds no word vectors, or the target's name is another.
    """
    from gensim.models import KeyedVectors

    if target.suffix != ".bin":
        raise InputError(f"{target} must end in .bin: word2vec's binary format is written")
    with refused_unless(source, "a file of gensim's word vectors"):
        vectors = KeyedVectors.load(str(source))
        if not isinstance(vectors, KeyedVectors):
            raise TypeError(f"it holds a {type(vectors).__name__}; save its .wv")
        with TemporaryDirectory() as folder:
            vectors.save_word2vec_format(f"{folder}/vectors.bin", binary=True)
            content = Path(folder, "vectors.bin").read_bytes()
    write_file(target, content)
    return len(vectors)


def main(words: list[str] | None = None) -> int:
    """Convert a file if its maker is said to be trusted; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m centre_builders.import_vectors")
    parser.add_argument("source", type=Path, help="gensim's native file, a pickle")
    parser.add_argument("target", type=Path, help="OUT.bin")
    parser.add_argument("--trust-pickle", action="store_true", help="run the code that it may hold")
    asked = parser.parse_args(words)
    try:
        if not asked.trust_pickle:
            raise InputError(
                f"{asked.source} is a pickle and was not opened: it may run any code, as you; if"
                " you trust whoever made it, add --trust-pickle"
            )
        num = import_vectors(asked.source, asked.target)
    except InputError as error:
        sys.stderr.write(f"import_vectors: {error}\n")
        return error.exit_code
    sys.stdout.write(f"{asked.target}: {num:,} vectors\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
