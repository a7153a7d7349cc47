"""Turn a mapping with a `_target_` into the object that it names, if it is one of ours.

Hydra would call whatever a configuration names (`os.system`, a loader of pickles), and of our own
functions some write files where they are told to. A configuration may come from a stranger's run
folder. So only what our YAML files name is called, word for word: a component is one YAML, one
`_target_`, and a new one needs no entry elsewhere.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from hydra.utils import instantiate

from centre_builders.errors import InputError, UsageError
from semcentres.compose import config_folder

# What a run writes of images that were made in Python; it says so when it is called.
IN_PYTHON = "semcentres.data.dataset.only_in_python"


def build(component: Any, group: str = "*", **more: Any) -> Any:  # noqa: ANN401
    """Return the object that a component names, built with its keywords and `more`.

    Args:
        component: a mapping with a `_target_`, and others within it.
        group: folder of `conf/` whose YAML files name the targets that are allowed; * allows all.
        more: further keywords.

    Raises:
        UsageError: a target is missing or not allowed, or refuses its keywords.
    """
    _check(component, group)
    target = component.get("_target_") if isinstance(component, Mapping) else None
    if target is None:
        known = ", ".join(sorted(allowed(group)))
        raise UsageError(f"{component} in {group} names no _target_; there are {known}")
    try:
        return instantiate(dict(component), _convert_="all", **more)
    except Exception as error:
        # Hydra wraps what the target raised; the cause is what the user must read.
        cause = error.__cause__ or error
        if isinstance(cause, InputError):
            raise cause from None
        if isinstance(cause, TypeError | ValueError):
            raise UsageError(f"{target}: {cause}") from error
        raise


@cache
def allowed(group: str = "*") -> frozenset[str]:
    """Return the targets that the YAML files of a group of `conf/` name."""
    files = config_folder().glob(f"{group}/*.yaml")
    named = (
        re.findall(r"^[\s-]*_target_: (\S+)$", file.read_text(), re.MULTILINE) for file in files
    )
    return frozenset(target for targets in named for target in targets)


def _check(node: Any, group: str) -> None:  # noqa: ANN401
    if isinstance(node, Mapping):
        if "_target_" in node and node["_target_"] not in (*allowed(group), IN_PYTHON):
            raise UsageError(
                f"_target_ {node['_target_']!r} is refused; there are"
                f" {', '.join(sorted(allowed(group)))}"
            )
        for value in (*node, *node.values()):
            _check(value, group)
    elif isinstance(node, list | tuple):
        for value in node:
            _check(value, group)
    elif isinstance(node, str) and "${" in node:
        # Hydra would resolve it: from the environment (oc.env), or to a target.
        raise UsageError(f"{node!r} is refused: a component holds no interpolation; write it out")
