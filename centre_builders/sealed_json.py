"""A JSON mapping that carries its own SHA-256, so that no byte of what it says can change unseen."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

SEAL = "sha256"


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
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
