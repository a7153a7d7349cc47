"""Hierarchies from a user's file: CSV of `child,parent`, or nested YAML.

    child,parent            clothing:
    tops,clothing             tops: [T-shirt/top, Pullover]
    Pullover,tops             Dress:
    T-shirt/top,tops        footwear: [Sandal, Sneaker]
    Dress,clothing
    Sandal,footwear
    Sneaker,footwear

In a CSV a child may have several parents. A YAML is a tree: every name stands in it once.
"""

import csv
from collections.abc import Iterator, Sequence
from hashlib import file_digest
from pathlib import Path

import yaml

from centre_builders.errors import InputError
from centre_builders.taxonomy import Placed, Taxonomy
from centre_builders.vocabulary import fold

HEADER = ["child", "parent"]
MOST_BYTES = 16 << 20
STRING = "tag:yaml.org,2002:str"
NOTHING = "tag:yaml.org,2002:null"


def place_in_file(path: str | Path, names: Sequence[str]) -> Placed:
    """Return where the names stand in the hierarchy of a file.

    Raises:
        InputError: the file is malformed or lacks a name; the message says where.
    """
    path = Path(path).expanduser()
    taxonomy = read_taxonomy(path)
    try:
        rows = taxonomy.rows_of(names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return Placed(taxonomy, rows, tuple(names), {"tree": path.name, "sha256": digest})


def read_taxonomy(path: Path) -> Taxonomy:
    """Return the hierarchy of a .csv, .yaml or .yml file.

    Raises:
        InputError: as `read_parents`, or the hierarchy runs in a circle.
    """
    parents = read_parents(path)
    try:
        return Taxonomy.from_parents(parents)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_parents(path: Path) -> dict[str, list[str]]:
    """Return the parents of each node of a .csv, .yaml or .yml file.

    Raises:
        InputError: the file is missing, too large or malformed; the message says where.
    """
    if path.suffix not in (".csv", ".yaml", ".yml"):
        raise InputError(f"{path} is none of .csv, .yaml, .yml; give a hierarchy as one of them")
    if not path.is_file():
        raise InputError(f"{path} is not a file; set centres.builder.tree to a hierarchy")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path} has {path.stat().st_size} bytes; wanted {MOST_BYTES} at most")
    try:
        # utf-8-sig: spreadsheets write a mark at the head of a CSV.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    parents: dict[str, list[str]] = {}
    for child, parent in (
        _csv_pairs(path, text) if path.suffix == ".csv" else _yaml_pairs(path, text)
    ):
        parents.setdefault(child, []).extend([parent] if parent else [])
    if not parents:
        raise InputError(f"{path} holds no hierarchy; write a child and its parent at least")
    return parents


def _csv_pairs(path: Path, text: str) -> Iterator[tuple[str, str]]:
    lines = csv.reader(text.splitlines(), strict=True)
    try:
        header = [cell.strip() for cell in next(lines, [])]
        if header != HEADER:
            raise InputError(f"{path}:1 has the header {','.join(header)!r}, wanted 'child,parent'")
        for cells in lines:
            pair = [cell.strip() for cell in cells]
            if len(pair) != 2 or not all(map(fold, pair)):
                said = f"{path}:{lines.line_num} holds {','.join(pair)!r}"
                raise InputError(f"{said}, wanted a child and its parent; roots need no line")
            yield pair[0], pair[1]
    except csv.Error as error:
        raise InputError(f"{path}:{lines.line_num} is not CSV ({error}); quote it") from error


def _yaml_pairs(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """Yield child and parent, "" for a top node, each child once."""
    line_of: dict[str, int] = {}
    try:
        # Composed and not loaded: a loader reads `no` as False, and keeps the last of equal keys.
        for node, parent in _walk(yaml.compose(text, Loader=yaml.SafeLoader), "", set()):
            name, line = str(node.value), node.start_mark.line + 1
            if node.tag != STRING or not fold(name):
                said = f"{path}:{line} holds {name[:40]!r}, which YAML does not read as text"
                raise InputError(f"{said}; write a name, in quotes")
            if fold(name) in line_of:
                raise InputError(
                    f"{path}:{line} places {name!r} again after line {line_of[fold(name)]};"
                    " remove one, or write a CSV of child,parent, where it may have two parents"
                )
            line_of[fold(name)] = line
            yield name, parent
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML ({' '.join(str(error).split())}); mend it") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deep; write a CSV of child,parent") from error


def _walk(node: yaml.Node | None, parent: str, met: set[int]) -> Iterator[tuple[yaml.Node, str]]:
    """Yield the nodes that stand for a name, each with the name above it."""
    # An alias is the same node met again, and a few lines of them make a billion names.
    if node is not None and id(node) in met:
        raise yaml.YAMLError(f"line {node.start_mark.line + 1} is used again by an alias")
    met.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, below in node.value:
            yield key, parent
            if below.tag != NOTHING or below.value:
                yield from _walk(below, str(key.value), met)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _walk(item, parent, met)
    elif node is not None:
        yield node, parent
