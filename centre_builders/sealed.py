"""One safetensors file that carries its own SHA-256: every byte is checked before it is parsed."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from centre_builders.artefact import write_file
from centre_builders.errors import CorruptArtefact, InputError, refused_unless

SEAL = b'"fingerprint":"'
BLANK = b"0" * 64
HEADER_LIMIT = 100_000_000
DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int32": "I32", "int64": "I64",
    "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip


def save_sealed(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> str:
    """Write one safetensors file that carries its own SHA-256, and return it.

    The hash is of the whole file, header included, with the hash's own 64 characters as zeros.
    Equal contents give equal files, and the tensors are not copied; the library's own writer
    copies them and orders the metadata at random.

    Raises:
        InputError: there is more metadata than can be read again.
    """
    arrays = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    header = _header(arrays, {**metadata, "fingerprint": BLANK.decode()})
    if len(header) >= HEADER_LIMIT:
        raise InputError(
            f"{path} would have {len(header):,} bytes of names and descriptions, of which"
            f" {HEADER_LIMIT:,} at most can be read again; shorten them"
        )
    # A view as bytes, for 0-dimensional and empty arrays too.
    parts = [array.reshape(-1).view(np.uint8).data for array in arrays.values()]
    digest = sha256(header)
    for part in parts:
        digest.update(part)
    sealed = header.replace(SEAL + BLANK, SEAL + digest.hexdigest().encode(), 1)
    write_file(path, sealed, *parts)
    return digest.hexdigest()


def load_sealed(
    path: str | Path, *, mapped: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, str], str]:
    """Return tensors, metadata and fingerprint of a sealed file.

    Args:
        path: of the file.
        mapped: whether the tensors stay in the file, so that all processes of a machine share the
            memory of its pages; what is written to them is seen by the process alone.

    Raises:
        CorruptArtefact: any byte differs from what was written; nothing is parsed before.
    """
    from safetensors import safe_open

    with refused_unless(path, "a sealed safetensors file"):
        fingerprint = _verify_seal(Path(path))
        with safe_open(path, framework="np") as file:
            metadata = {k: v for k, v in file.metadata().items() if k != "fingerprint"}
            names = [] if mapped else list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
        if mapped:
            tensors = _mapped(Path(path))
    return tensors, metadata, fingerprint


def _header(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """Return length and header of a safetensors file (github.com/huggingface/safetensors)."""
    described: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        described[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(described, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    return len(text).to_bytes(8, "little") + text


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a file of which the library has found that it is whole."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__")
    types = {theirs: ours for ours, theirs in DTYPES.items()}
    return {
        name: np.memmap(
            path,
            types[at["dtype"]],
            mode="c",
            offset=8 + length + at["data_offsets"][0],
            shape=tuple(at["shape"]),
        )
        for name, at in header.items()
    }


def _verify_seal(path: Path) -> str:
    """Return the seal of a file whose bytes agree with it."""
    remedy = "it is damaged or was not written by semcentres; restore it or make it anew"
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length < min(HEADER_LIMIT, path.stat().st_size):
            raise CorruptArtefact(f"{path} has no header of a plausible length: {remedy}")
        head = length.to_bytes(8, "little") + file.read(length)
        # safetensors escapes quotes within metadata, so the first hit is the key itself.
        before, found, after = head.partition(SEAL)
        seal = after[:64]
        digest = sha256(before + found + BLANK + after[64:])
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if not found or digest.hexdigest().encode() != seal:
        raise CorruptArtefact(f"{path} differs from the SHA-256 it was sealed with: {remedy}")
    return digest.hexdigest()
