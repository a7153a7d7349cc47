"""What a fuzzer's bytes say is to be changed in a tree of JSON, so that it stays JSON."""

from copy import deepcopy
from typing import Any

import atheris

# Of every type; what a number, a name, a path or a list goes wrong at.
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 0.5, 1 << 31, 1 << 63, 10**400, 1e308, float("nan"), float("-inf"), "",
    "a", "F64", "x" * 300, "\0", "../a", "/dev/zero", "\ud800", [], {}, [[]], [None], {"a": None},
    {"size": -1},
)  # fmt: skip
MOST = 4  # changes


def edited(tree: object, given: atheris.FuzzedDataProvider) -> Any:  # noqa: ANN401
    """Return a tree with up to four changes; none where the bytes have ended."""
    root = [deepcopy(tree)]
    for _ in range(given.ConsumeIntInRange(0, MOST)):
        _edit(root, given)
        if not root:
            return None
    return root[0]


def _edit(root: Any, given: atheris.FuzzedDataProvider) -> None:  # noqa: ANN401
    """Replace, remove, add or write over one value somewhere within."""
    node, key = root, 0
    while isinstance(node[key], dict | list) and node[key] and given.ConsumeIntInRange(0, 3):
        node = node[key]
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = keys[given.ConsumeIntInRange(0, len(keys) - 1)]
    how = given.ConsumeIntInRange(0, len(VALUES) + 3)
    if how < len(VALUES):
        node[key] = deepcopy(VALUES[how])
    elif how == len(VALUES):
        del node[key]
    elif how == len(VALUES) + 1:
        node[key] = given.ConsumeUnicode(20)
    elif how == len(VALUES) + 2:
        node[key] = given.ConsumeInt(8)
    elif isinstance(node, dict):
        node[given.ConsumeUnicode(20)] = deepcopy(node[key])
    else:
        node.append(deepcopy(node[key]))
