"""All keys of a verb with their values and meanings, which are the comments of `settings.py`."""

import ast
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf

from semcentres import settings
from semcentres.compose import defaults, options, used_groups

SOURCE = Path(settings.__file__)
COLUMN = 34  # where meanings begin


def help_of(verb: str) -> str:
    """Return what a verb can be told: its groups, their options, and all its keys."""
    name = "data check" if verb == "check" else verb
    groups = [f"  {group}: {', '.join(options(group))}\n" for group in used_groups(verb)]
    told = f"groups (group=option):\n{''.join(groups)}\n" if groups else ""
    keys = "\n".join(_lines(defaults(verb), ""))
    return f"semcentres {name} key=value ...\n\n{told}keys and their values:\n{keys}\n"


@cache
def meanings() -> dict[str, dict[str, str]]:
    """Return what each field of each dataclass of the settings means."""
    code = SOURCE.read_text()
    lines = code.splitlines()
    return {
        node.name: {
            ast.unparse(field.target): meaning(lines[field.lineno - 1 : field.end_lineno])
            for field in fields(node)
        }
        for node in ast.parse(code).body
        if isinstance(node, ast.ClassDef)
    }


def fields(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    """Yield a dataclass's fields in their order."""
    yield from (field for field in node.body if isinstance(field, ast.AnnAssign))


def meaning(lines: list[str]) -> str:
    """Return the comment of a field, which is on one of its lines."""
    found = [match[1] for line in lines if (match := re.search(r"  # (.*)$", line))]
    return " ".join(found)


def _lines(config: DictConfig, indent: str) -> Iterator[str]:
    """Yield a configuration as YAML, a meaning behind each key that has one."""
    kind = OmegaConf.get_type(config)
    told = meanings().get(kind.__name__, {}) if is_dataclass(kind) else {}
    for key in map(str, config):
        below = None if OmegaConf.is_missing(config, key) else config[key]
        nested = isinstance(below, DictConfig) and len(below) > 0
        value = "" if nested else f" {_shown(config, key)}"
        comment = f"# {told[key]}" if told.get(key) else ""
        yield f"{f'{indent}{key}:{value}':<{COLUMN}}  {comment}".rstrip()
        if nested:
            yield from _lines(cast(DictConfig, below), f"{indent}  ")


def _shown(config: DictConfig, key: str) -> str:
    """Return a value as it is typed; of one that is missing, so many question marks."""
    plain = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.masked_copy(config, key)))
    return str(yaml.safe_dump([plain[key]], default_flow_style=True, width=1000)).strip()[1:-1]
