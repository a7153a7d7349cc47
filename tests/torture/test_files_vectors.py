"""Word vectors from strangers: text is checked by line, a pickle needs a command of its own."""

import gzip
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from centre_builders.errors import InputError
from centre_builders.import_vectors import main
from centre_builders.word2vec import Word2Vec


def build(path: Path) -> None:
    Word2Vec(path=str(path)).build(["cat"], seed=0)


MALFORMED = {
    "a row too short": (b"3 2\ncat 1 2\ndog 0.5\n", 3, "has 1 numbers, wanted 2"),
    "a row too long": (b"cat 1 2\ndog 1 2 3\n", 2, "has 3 numbers, wanted 2"),
    "nan": (b"cat 1 2\ndog nan 2\n", 2, "a number that is not finite"),
    "inf": (b"cat 1 inf\n", 1, "a number that is not finite"),
    "too large for float32": (b"cat 1 1e39\n", 1, "a number that is not finite"),
    "a word for a number": (b"cat 1 two\n", 1, "what is no number"),
    "a word twice": (b"cat 1 2\ndog 1 2\ncat 3 4\n", 3, "gives 'cat' a second time"),
    "more rows than promised": (b"1 2\ncat 1 2\ndog 3 4\n", 1, "promises 1 rows, the file has 2"),
    "terabytes promised": (b"2000000000 2\ncat 1 2\n", 1, "promises 2000000000 rows"),
    "no UTF-8": (b"cat 1 2\n\xff\xfe 3 4\n", 2, "is not UTF-8"),
    "no numbers": (b"cat\n", 1, "has 0 numbers"),
    "a line without end": (b"cat 1 2\ndog " + b"1 " * (1 << 19), 2, "longer than 1,048,576 bytes"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_text_is_refused_at_its_line(tmp_path: Path, fault: str, packed: bool) -> None:
    content, line, said = MALFORMED[fault]
    path = tmp_path / ("v.txt.gz" if packed else "v.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=rf"{re.escape(path.name)}:{line} .*{re.escape(said)}"):
        build(path)


def test_a_spoilt_compressed_file_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(b"cat 1 2\n" * 50))
    content[20] ^= 0xFF
    for name in ("v.txt.gz", "v.bin.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            build(tmp_path / name)


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("suffix", [".kv", ".model", ".pkl", ".pickle", ".kv.gz"])
def test_pickles_are_never_opened_and_the_converter_is_named(tmp_path: Path, suffix: str) -> None:
    evil, marker = tmp_path / f"evil{suffix}", tmp_path / "marker"
    evil.write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(InputError, match=r"evil.* is gensim's .*import_vectors .*--trust-pickle"):
        build(evil)
    assert not marker.exists()


def test_the_converter_opens_a_pickle_only_when_told_to_trust_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = KeyedVectors(2)
    vectors.add_vectors(["cat", "new_york"], np.array([[1, 2], [0.5, 6]], "f4"))
    source, target = tmp_path / "v.kv", tmp_path / "v.bin"
    vectors.save(str(source))
    assert main([str(source), str(target)]) == 3
    assert "v.kv is a pickle and was not opened" in capsys.readouterr().err
    assert not target.exists()
    assert main([str(source), str(target), "--trust-pickle"]) == 0
    raw = Word2Vec(path=str(target)).build(["New York", "cat"], seed=0)
    np.testing.assert_array_equal(raw.vectors, [[0.5, 6], [1, 2]])
    assert main([str(source), str(tmp_path / "v.txt"), "--trust-pickle"]) == 3
    (tmp_path / "no.kv").write_bytes(pickle.dumps([1]))
    assert main([str(tmp_path / "no.kv"), str(target), "--trust-pickle"]) == 3
    assert "no.kv is not a file of gensim's word vectors" in capsys.readouterr().err
    assert target.is_file()
