"""Turn a mapping with a `_target_` into the object that it names, if it is one of ours.

Hydra would call whatever a configuration names (`os.system`, a loader of pickles). A
configuration may come from a stranger's run folder, so only what our two packages define is
called; the check looks at where the object is defined, not at the path by which it is reached.
"""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_object, instantiate

from centre_builders.errors import InputError, UsageError

PACKAGES = ("semcentres", "centre_builders")


def build(component: Mapping[str, Any], **more: Any) -> Any:  # noqa: ANN401
    """Return the object that a component names, built with its keywords and `more`.

    Raises:
        UsageError: a target is not ours, does not exist, or refuses its keywords.
    """
    _check(component)
    target = component["_target_"]
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


def _check(node: Any) -> None:  # noqa: ANN401
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_target(node["_target_"])
        for value in node.values():
            _check(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _check(value)


def _check_target(target: Any) -> None:  # noqa: ANN401
    allowed = f"a target must be defined in {' or '.join(PACKAGES)}"
    # The path is checked before it is imported: importing runs code.
    if not isinstance(target, str) or target.split(".")[0] not in PACKAGES:
        raise UsageError(f"_target_ {target!r} is refused: {allowed}")
    try:
        home = getattr(get_object(target), "__module__", None)
    except Exception as error:
        raise UsageError(f"_target_ {target!r} does not exist") from error
    if str(home).split(".")[0] not in PACKAGES:
        raise UsageError(f"_target_ {target!r} is refused, it is defined in {home}: {allowed}")
