"""Embedded texts, kept on disk by model and text, so that a text is embedded once.

Dimensions: N texts, D width.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from centre_builders.errors import CorruptArtefact
from centre_builders.sealed import load_sealed, save_sealed

log = logging.getLogger(__name__)

VARIABLE = "SEMCENTRES_CACHE"
Embed = Callable[[Sequence[str]], Float32[np.ndarray, "N D"]]


def cache_folder(kind: str = "texts") -> Path:
    """Return where a kind of thing is kept: below $SEMCENTRES_CACHE or ~/.cache/semcentres."""
    base = os.environ.get(VARIABLE) or "~/.cache/semcentres"
    return Path(base).expanduser() / kind


@contextmanager
def nothing_cached() -> Iterator[None]:
    """Let every text be embedded anew within; the cache itself stays as it is."""
    before = os.environ.get(VARIABLE)
    with TemporaryDirectory() as empty:
        os.environ[VARIABLE] = empty
        try:
            yield
        finally:
            del os.environ[VARIABLE]
            if before is not None:
                os.environ[VARIABLE] = before


def embed_cached(model: str, texts: Sequence[str], embed: Embed) -> Float32[np.ndarray, "N D"]:
    """Return one row a text, embedding only those that this model has not seen.

    Args:
        model: says what the rows depend on beside the text; a hash of the model's files.
        texts: in any order, also twice.
        embed: texts to rows; a text's row must not depend on the others.
    """
    path = cache_folder() / f"{sha256(model.encode()).hexdigest()}.safetensors"
    known = _read(path)
    keys = [sha256(text.encode()).digest() for text in texts]
    new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if new:
        known |= zip(new, embed(list(new.values())), strict=True)
        try:
            _write(path, known)
        except OSError as error:
            log.warning("embedded texts are not kept (%s); set %s to a folder", error, VARIABLE)
    return np.stack([known[key] for key in keys])


def _read(path: Path) -> dict[bytes, np.ndarray]:
    """Return what the cache holds; a damaged one is as good as none, it is made anew."""
    if not path.is_file():
        return {}
    try:
        tensors, _, _ = load_sealed(path)
        return dict(zip(map(bytes, tensors["keys"]), tensors["rows"], strict=True))
    except (CorruptArtefact, KeyError):
        return {}


def _write(path: Path, known: dict[bytes, np.ndarray]) -> None:
    keys = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(len(known), -1)
    save_sealed(path, {"keys": keys, "rows": np.stack(list(known.values()))}, {})
