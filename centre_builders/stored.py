"""Builders as they are stored in a bank: a name and its keywords, as in the configuration."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

from centre_builders.errors import InputError
from centre_builders.protocol import CentreBuilder

# Keywords that builders of earlier versions had.
GONE = ("trust_pickle",)


def describe_builder(builder: CentreBuilder) -> dict[str, Any]:
    """Return the builder as JSON: `_target_` and its keywords, builders within it alike."""
    kind = type(builder)
    described: dict[str, Any] = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    if is_dataclass(builder):
        described |= {f.name: _describe(getattr(builder, f.name)) for f in fields(builder)}
    return described


def rebuild(described: Mapping[str, Any]) -> CentreBuilder:
    """Return the builder that `describe_builder` described.

    Raises:
        InputError: it is not one of this package, and so is not called: a bank may be a stranger's.
    """
    target = str(described.get("_target_"))
    package, _, module = target.rpartition(".")[0].partition(".")
    kind = None
    if package == __package__ and "." not in module:
        try:
            kind = getattr(import_module(f"{package}.{module}"), target.rpartition(".")[2], None)
        except ImportError:
            kind = None
    if not (isinstance(kind, type) and kind.__module__ == f"{package}.{module}"):
        raise InputError(
            f"the bank was built by {target}, which is not of {__package__};"
            " give the builder to add(), builder=..."
        )
    keywords = {k: _rebuild(v) for k, v in described.items() if k not in ("_target_", *GONE)}
    try:
        builder = kind(**keywords)
    except (TypeError, ValueError) as error:
        raise InputError(f"the bank's builder {target} refuses its keywords ({error})") from error
    if not isinstance(builder, CentreBuilder):
        raise InputError(f"the bank was built by {target}, which is not a builder of centres")
    return builder


def _describe(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, CentreBuilder):
        return describe_builder(value)
    if isinstance(value, Mapping):
        return {str(k): _describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(v) for v in value]
    return value


def _rebuild(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        inner = {k: _rebuild(v) for k, v in value.items() if k != "_target_"}
        return rebuild(value) if "_target_" in value else inner
    return [_rebuild(v) for v in value] if isinstance(value, list) else value
