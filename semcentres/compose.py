"""From `key=value` words to a checked configuration, with errors that say what exists."""

import re
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from centre_builders.artefact import write_file
from centre_builders.errors import InputError, UsageError, refused_unless
from semcentres.ranges import check_ranges
from semcentres.settings import SCHEMAS, TrainConfig

# What Hydra and OmegaConf refuse words by; a ValueError for a number in an option's place.
REFUSED = (HydraException, OmegaConfBaseException, ValueError)
SEAL = b"# sha256 "
MOST_BYTES = 16 << 20  # of a run's configuration, which may hold a hierarchy of the classes


def config_folder() -> Path:
    """Return the folder of YAML files: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def compose_config(verb: str, words: Sequence[str]) -> DictConfig:
    """Return the configuration of a verb, changed by `key=value` words.

    Raises:
        UsageError: a key, group or value does not exist; the message says what does.
    """
    try:
        config = _compose(verb, words)
        OmegaConf.resolve(config)
    except REFUSED as error:
        raise UsageError(_explain(verb, words, error)) from error
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UsageError(f"{verb} needs {', '.join(f'{key}=...' for key in missing)}")
    for key in _unknown(config):
        raise UsageError(_wrong_key(verb, words, key))
    check_ranges(config)
    return config


def _unknown(config: DictConfig, parent: str = "") -> list[str]:
    """Return the keys that `+` or `++` has added beside those of a dataclass."""
    kind, found = OmegaConf.get_type(config), []
    for key in map(str, config):
        full, node = f"{parent}{key}", OmegaConf.is_missing(config, key) or config[key]
        if is_dataclass(kind) and key not in {field.name for field in fields(kind)}:
            found.append(full)
        elif isinstance(node, DictConfig):
            found += _unknown(node, f"{full}.")
    return found


def _compose(verb: str, words: Sequence[str], *, whole: bool = False) -> DictConfig:
    register_schemas()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose(verb, overrides=[_at_home(w) for w in words], return_hydra_config=whole)


def _at_home(word: str) -> str:
    """Return `key=~/path` with the home folder, which most shells leave to us after `=`."""
    key, _, value = word.partition("=")
    return f"{key}={Path(value).expanduser()}" if value.startswith("~/") else word


def sweep_words(verb: str, words: Sequence[str]) -> dict[str, str]:
    """Return the axes that an experiment brings, as Hydra writes them: key to choices.

    Raises:
        UsageError: as `compose_config`.
    """
    try:
        params = _compose(verb, words, whole=True).hydra.sweeper.params
    except REFUSED as error:
        raise UsageError(_explain(verb, words, error)) from error
    return {str(key): str(choices) for key, choices in (params or {}).items()}


def defaults(verb: str) -> DictConfig:
    """Return the configuration of a verb as it is without any word."""
    return _compose(verb, [])


def register_schemas() -> None:
    """Make the dataclasses of `settings` known to Hydra, by the names that the YAML gives them."""
    for verb, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"schema_{verb}", node=schema)


def used_groups(verb: str) -> list[str]:
    """Return the groups that a verb has options of."""
    chosen = map(str, _compose(verb, [], whole=True).hydra.runtime.choices)
    return sorted(group for group in chosen if not group.startswith("hydra/"))


def options(group: str) -> list[str]:
    """Return the names of a group's YAML files."""
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def _explain(verb: str, words: Sequence[str], error: Exception) -> str:
    """Say in one line which word is wrong and what exists in its place."""
    if isinstance(error, OverrideParseException):
        reason = str(error).splitlines()[1:2]
        return (
            f"{error.override}: this is not key=value ({' '.join(reason)}); close every bracket,"
            " and put in quotes what holds a space or a comma"
        )
    schema: Any = SCHEMAS[verb]
    lists = [field.name for field in fields(schema) if str(field.type).startswith("list")]
    for word in words:
        key, _, value = word.partition("=")
        key = key.lstrip("+~")
        if key in lists and not value.startswith("[") and value != "null":
            return f"{word}: this is a list; write '{key}=[{value}]'"
        if (config_folder() / key).is_dir() and value not in options(key):
            if key not in used_groups(verb):
                return f"{word}: {_wrong_key(verb, words, key)}"
            return f"{word}: no such {key}; there are {', '.join(options(key))}"
        if f"'{key}'" in str(error) or f"override '{key}'" in str(error):
            return f"{word}: {_wrong_key(verb, words, key)}"
    # What is wrong with a value is said by what Hydra's error was made from.
    whole = f"{error}\n{error.__cause__ or ''}"
    lines = [line.strip() for line in whole.splitlines() if line.strip()]
    told = re.sub(r"\s+", " ", "; ".join(lines[:2]))
    if merged := re.fullmatch(r"Error merging override (?P<word>(?P<key>[\w.]+)=.*?); (.*)", told):
        usual = OmegaConf.select(defaults(verb), merged["key"])
        return f"{merged['word']}: {merged[3]}; the default is {usual}"
    return told


def _wrong_key(verb: str, words: Sequence[str], key: str) -> str:
    """Say what is wrong with a key, with those beside it, the nearest first."""
    keys_of = [(word.partition("=")[0], word) for word in words]
    good = [word for k, word in keys_of if k != key and (config_folder() / k).is_dir()]
    try:
        node = _compose(verb, good)
    except REFUSED:
        return f"no key {key}"
    parent, _, last = key.rpartition(".")
    place = OmegaConf.select(node, parent) if parent else node
    if not isinstance(place, DictConfig):
        first = key.partition(".")[0]
        near = [] if first in node else get_close_matches(first, [*map(str, node)], n=1)
        return f"no key {key}" + (f"; did you mean {near[0]}{key[len(first) :]}?" if near else "")
    keys = [str(k) for k in place]
    if last in keys:
        return f"{key} is there already: write it without '+'"
    near = get_close_matches(last, keys, n=1)
    hint = f"; did you mean {'.'.join(filter(None, (parent, near[0])))}?" if near else ""
    return f"no key {key}{hint}; {parent or verb} has {', '.join(sorted(keys))}"


def to_settings(config: DictConfig) -> Any:  # noqa: ANN401
    """Return the verb's dataclass, with components as plain dicts."""
    return OmegaConf.to_object(config)


def compose_settings(verb: str, words: Sequence[str]) -> Any:  # noqa: ANN401
    """Return the dataclass of a verb's configuration; see `compose_config`."""
    return to_settings(compose_config(verb, words))


def save_config(path: Path, config: TrainConfig) -> None:
    """Write a run's configuration, with its hash in the first line."""
    write_file(path, _sealed(yaml.safe_dump(asdict(config)).encode()))


def _sealed(content: bytes) -> bytes:
    return SEAL + sha256(content).hexdigest().encode() + b"\n" + content


def load_config(path: Path) -> TrainConfig:
    """Return the configuration that a run folder holds.

    Raises:
        InputError: it is missing, is not one of ours, or differs from the hash in its first line.
    """
    if not path.is_file():
        raise InputError(f"{path.parent} is not a run folder, it has no {path.name}; train first")
    with refused_unless(path, "a run's configuration"):
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes, at most {MOST_BYTES:,} are read")
        content = path.read_bytes()
        if content.startswith(SEAL) and content != _sealed(content.partition(b"\n")[2]):
            raise ValueError(
                "it differs from the SHA-256 in its first line; where you have changed it"
                " yourself, remove that line"
            )
        read = yaml.safe_load(content.decode())
        _check_plain(read, set())
        if isinstance(read, dict) and isinstance(read.get("trainer"), dict):
            for gone in ("devices", "strategy"):  # which older runs hold; torchrun decides them
                read["trainer"].pop(gone, None)
        config = OmegaConf.merge(OmegaConf.structured(TrainConfig), read)
        return cast(TrainConfig, OmegaConf.to_object(config))


def _check_plain(node: object, met: set[int]) -> None:
    """Refuse what `train` never writes, and a stranger may have: aliases and interpolations."""
    if isinstance(node, dict | list):
        # A few lines of aliases are a billion entries once they are copied.
        if id(node) in met:
            raise ValueError("it uses a YAML alias")
        met.add(id(node))
        for item in (*node, *(node.values() if isinstance(node, dict) else ())):
            _check_plain(item, met)
    elif isinstance(node, str) and "${" in node:
        # It would be read from the environment, or from elsewhere in the file.
        raise ValueError(f"{node!r} is an interpolation")


def check_words(words: Sequence[str]) -> None:
    """Refuse words by which Hydra itself would call what they name, or open a pickle.

    A sweep hands its words to Hydra, which instantiates its own launcher, sweeper and callbacks
    without `components.build`, finds YAML where it is told to, and has --experimental-rerun.

    Raises:
        UsageError: a word is of that kind.
    """
    for word in words:
        own = re.match(r"[+~]*hydra\b", word)
        calls = own and any(part in word for part in ("_target_", "${", "searchpath"))
        if calls or (word.startswith("-") and word not in ("-m", "--multirun")):
            raise UsageError(f"{word} is refused: of Hydra a sweep takes choices and numbers only")
