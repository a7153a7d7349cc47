"""JSON mappings: read from files that may be a stranger's; sealed by a SHA-256 of their own."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from centre_builders.errors import refused_unless

SEAL = "sha256"


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Return the mapping that a file holds.

    Raises:
        CorruptArtefact: it holds none; the message names it, and `what` it should be.
    """
    with refused_unless(path, what):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def read_sealed(path: Path, what: str) -> dict[str, Any]:
    """Return the mapping that a file holds, without its hash; one that has none is not compared.

    Raises:
        CorruptArtefact: it holds none, or differs from its hash.
    """
    content = read_json(path, what)
    with refused_unless(path, what):
        return unsealed(content) if SEAL in content else content


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping with its hash.

    >>> sealed({"parts": 2})["sha256"][:8]
    '6459bfe7'
    """
    return {**content, SEAL: _hash(content)}


def unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping without its hash, which must be right.

    Raises:
        ValueError: it is not, or is missing.
    """
    rest = {key: value for key, value in content.items() if key != SEAL}
    if content.get(SEAL) != _hash(rest):
        raise ValueError("it differs from the SHA-256 that it carries")
    return rest


def _hash(content: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(content))  # where keys are texts, which sort otherwise
    return sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()
