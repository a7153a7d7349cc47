"""Class names and where they come from: text, CSV, JSON, a folder of images, torchvision.

Reading and checking are two steps, so that the audit can read names that no bank would take.

A name is what a class is called in every bank, file and answer, so no two classes may share one,
also not after folding (`vocabulary.fold`). A description does not make two names different: it
says what a text builder reads in place of the name. Where a source has the same name twice, the
remedy is to rename one, or to ask for numbers: with `number_duplicates` the second "crane" is
called "crane (2)" and read as its own description, or as "crane" where it has none.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from io import StringIO
from itertools import count
from pathlib import Path

from centre_builders.errors import InputError
from centre_builders.vocabulary import check_name, fold

TORCHVISION = "torchvision:"
NOT_CLASSES = "unlabelled"  # a folder of images without labels
COLUMNS = ("name", "description")
KINDS = {
    bool: "boolean", int: "number", float: "number",
    str: "a text", list: "a list", tuple: "an object",
}  # fmt: skip


@dataclass(frozen=True)
class ClassNames:
    """Class names as a source gives them, not yet checked.

    Args:
        names: in the source's order.
        descriptions: for some names, a text to read in place of the name.
        places: where each name stands, for messages: "names.txt:3"; none if made by hand.
    """

    names: tuple[str, ...]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    def place(self, row: int) -> str:
        """Return where the name of a row stands."""
        return self.places[row] if self.places else f"class {row}"


@dataclass(frozen=True)
class _Entry:
    place: str
    name: str
    description: str = ""


def read_class_names(source: str | Path, *, number_duplicates: bool = False) -> ClassNames:
    """Return the class names of a source, with their descriptions.

    Args:
        source: one of
            a text file, a name a line, perhaps with a tab and a description after it;
            .csv with a header `name` or `name,description`;
            .json, a list of names, a list of {"name", "description"}, or name to description;
            a folder, whose sub-folders are the classes (not hidden ones, not "unlabelled");
            "torchvision:ResNet50_Weights.IMAGENET1K_V2", or other weights with categories.
        number_duplicates: whether a name that is there twice gets a number from the second on.

    Raises:
        InputError: the source is missing, empty, not UTF-8 or malformed; file and line are said.
    """
    entries = list(_entries(source))
    if not entries:
        raise InputError(f"{source} holds no class names; give at least one")
    if number_duplicates:
        entries = _number(entries)
    return ClassNames(
        tuple(entry.name for entry in entries),
        {e.name: e.description for e in reversed(entries) if e.description},
        tuple(entry.place for entry in entries),
    )


def check_class_names(found: ClassNames) -> ClassNames:
    """Return the names and the keys of the descriptions, NFC, if each name can name a class.

    Raises:
        InputError: a name is empty, has control characters, or is given twice; places are said.
    """
    checked = [check_name(name, found.place(row)) for row, name in enumerate(found.names)]
    for first, second, *_ in same_names(checked):
        raise InputError(
            f"{found.place(second)}: {checked[second]!r} is the same name as {checked[first]!r}"
            f" ({found.place(first)}); rename or remove one, or set number_duplicates=true"
        )
    descriptions = {
        check_name(name, "a described class"): text for name, text in found.descriptions.items()
    }
    return ClassNames(tuple(checked), descriptions, found.places)


def same_names(names: Sequence[str]) -> list[list[int]]:
    """Return the rows of each name that is there more than once, after folding."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(fold(name), []).append(row)
    return [group for group in rows.values() if len(group) > 1]


def _entries(source: str | Path) -> Iterator[_Entry]:
    if str(source).startswith(TORCHVISION):
        return _torchvision(str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        raise InputError(
            f"{path} is YAML, where names such as no, on and 012 are none; give them as .txt (one a"
            " line), .csv or .json"
        )
    readers = {".csv": _csv, ".json": _json}
    return readers.get(path.suffix.lower(), _lines)(path, _text_of(path))


def _text_of(path: Path) -> str:
    try:
        # A spreadsheet may put a byte order mark before the first name.
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name a file") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}:{line} is not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from error


def _lines(path: Path, text: str) -> Iterator[_Entry]:
    # Not splitlines(), which also breaks a name at U+2028 and its like.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            name, _, description = line.partition("\t")
            if not name.strip():
                raise InputError(f"{path}:{number} has no name before the tab; give it one")
            yield _Entry(f"{path}:{number}", name.strip(), description.strip())


def _csv(path: Path, text: str) -> Iterator[_Entry]:
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip().casefold() for column in next(rows, [])]
        strange = next((column for column in header if column not in COLUMNS), None)
        if strange is not None or header.count("name") != 1 or len(set(header)) != len(header):
            raise InputError(
                f"{path}:1 has the header {','.join(header)!r}; write 'name,description' or 'name'"
            )
        for row in rows:
            if not row:
                continue
            place = f"{path}:{rows.line_num}"
            if len(row) != len(header):
                raise InputError(
                    f"{place} has {len(row)} fields, the header {len(header)};"
                    " put a text that holds a comma in double quotes"
                )
            found = {column: cell.strip() for column, cell in zip(header, row, strict=True)}
            if not found["name"]:
                raise InputError(f"{place} has no name; give it one, or remove the line")
            yield _Entry(place, **found)
    except csv.Error as error:
        raise InputError(f"{path}:{rows.line_num} is not CSV ({error}); mend the line") from error


def _json(path: Path, text: str) -> Iterator[_Entry]:
    try:
        # As tuples of pairs, so that no key that is there twice is lost.
        content = json.loads(text, object_pairs_hook=tuple)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno} is not JSON ({error.msg}); mend it") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path} is not a list of names ({error}); write one") from error
    if not isinstance(content, list | tuple):
        raise InputError(
            f"{path} holds {_kind(content)}; write a list of names, or names with descriptions"
        )
    for number, item in enumerate(content):
        place = f"{path}: class {number}"
        if isinstance(content, tuple):
            item = (("name", item[0]), ("description", item[1]))
        yield _json_entry(place, item)


def _json_entry(place: str, item: object) -> _Entry:
    if not isinstance(item, tuple):
        return _Entry(place, _as_text(item, place))
    keys = [key for key, _ in item]
    if "name" not in keys or not set(keys) <= set(COLUMNS) or len(set(keys)) != len(keys):
        raise InputError(f"{place} has the keys {keys}; write 'name' and 'description'")
    found = dict(item)
    name = _as_text(found["name"], place)
    description = found.get("description")
    if description is None:
        return _Entry(place, name)
    return _Entry(place, name, _as_text(description, f"{place}: the description of {name!r}"))


def _as_text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{place} is {_kind(value)}; quote it")
    return value


def _kind(value: object) -> str:
    kind = KINDS.get(type(value), "null")
    return f"{kind} {value!r}" if isinstance(value, bool | int | float) else kind


def _folder(path: Path) -> Iterator[_Entry]:
    for child in sorted(path.iterdir(), key=lambda child: child.name):
        if child.is_dir() and child.name != NOT_CLASSES and not child.name.startswith("."):
            yield _Entry(str(child), child.name)


def _torchvision(source: str) -> Iterator[_Entry]:
    wanted = source.removeprefix(TORCHVISION)
    try:
        weights = import_module("torchvision.models").get_weight(wanted)
    except ImportError as error:
        raise InputError(
            f"{source} needs torchvision ({error}); pip install torchvision"
        ) from error
    except (AttributeError, KeyError, ValueError) as error:
        raise InputError(
            f"torchvision has no weights {wanted!r}; write such as"
            " torchvision:ResNet50_Weights.IMAGENET1K_V2"
        ) from error
    for number, name in enumerate(weights.meta.get("categories", ())):
        yield _Entry(f"{source}[{number}]", name)


def _number(entries: Sequence[_Entry]) -> list[_Entry]:
    """Return the entries with " (2)", " (3)", ... after names that came before."""
    taken = {fold(entry.name) for entry in entries}
    seen: set[str] = set()
    numbered = []
    for entry in entries:
        if fold(entry.name) in seen:
            new = next(n for i in count(2) if fold(n := f"{entry.name} ({i})") not in taken)
            taken.add(fold(new))
            entry = _Entry(entry.place, new, entry.description or entry.name)
        seen.add(fold(entry.name))
        numbered.append(entry)
    return numbered
