"""Many trainings that differ in a few words, in one table and its figures.

    semcentres compare centres=one_hot,word2vec,sentence seed=0,1,2 data=emoji out=runs/compare
    semcentres compare experiment=compare_small

A word with commas is an axis, as in a Hydra sweep; all combinations are trained, with equal steps
and the same seeds, each in a run folder of its own. So a stopped comparison goes on where it was.
An experiment may bring axes of its own, as Hydra's `hydra.sweeper.params`; a word replaces its.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from centre_builders.artefact import write_file, write_json
from centre_builders.errors import UsageError
from centre_builders.json_files import read_json
from centre_builders.text_cache import nothing_cached
from semcentres.banks import make_bank
from semcentres.comparison import COSTS, Comparison, Row
from semcentres.components import build
from semcentres.compose import compose_settings, sweep_words
from semcentres.evaluation.report import draw_comparison, draw_race
from semcentres.objectives.batch import Objective
from semcentres.recipe import check_temperature, find_source
from semcentres.settings import TrainConfig
from semcentres.verbs import train

log = logging.getLogger(__name__)

# A list is as good as commas where the key says that there are several.
LISTS = {"objectives": "objective", "methods": "method", "seeds": "seed"}


def compare(words: Sequence[str]) -> Comparison:
    """Train every combination of the words' choices and gather the results.

    Raises:
        UsageError: no word has several choices, or a word is wrong; nothing is trained then.
    """
    folder, axes, rest = _read(words)
    seeds = axes.pop("seed")
    combinations = list(product(*axes.values()))
    # All are composed and checked before any is trained, so that a wrong word costs nothing.
    configs = {
        (chosen, seed): compose_settings("train", _words(folder, tuple(axes), chosen, seed, rest))
        for chosen in combinations
        for seed in seeds
    }
    for chosen in combinations:
        _check(configs[chosen, seeds[0]])
    rows = []
    for chosen in combinations:
        cells = [configs[chosen, seed] for seed in seeds]
        seconds = {"build_seconds": build_seconds(cells[0])}
        runs = []
        for config in cells:
            log.info("%s, seed %d: %s", ", ".join(chosen), config.seed, config.run_dir)
            runs.append(_run(config, seconds))
        rows.append(Row(dict(zip(axes, chosen, strict=True)), tuple(runs)))
    found = Comparison(folder, tuple(axes), tuple(rows))
    write_json(folder / "comparison.json", {"words": list(words), **found.as_json()})
    write_file(folder / "comparison.md", found.markdown().encode())
    _draw(found)
    return found


def _check(config: TrainConfig) -> None:
    """Build what a cell needs, and raise what would stop it."""
    source = find_source(config.data)
    bank = make_bank(config.centres, source.class_names, seed=config.seed, tree=source.parents)
    objective: Objective = build(config.objective, "objective")
    check_temperature(objective.temperature, bank, force=config.force_temperature)


def _run(config: TrainConfig, more: Mapping[str, float]) -> dict[str, Any]:
    """Train a cell, unless it is finished, and return its numbers."""
    run, results = train(config)
    curve = [record for record in run.records() if "validation_accuracy" in record]
    if curve:
        more = {**more, "train_seconds": curve[-1]["seconds"]}
    return {"seed": config.seed, "results": {**_numbers(results), **more}, "curve": curve}


def _draw(found: Comparison) -> None:
    names = [row.name for row in found.rows]
    panels = {
        heading: [row.cell(key) for row in found.rows] for key, heading in found.columns.items()
    }
    draw_comparison(names, panels, found.folder / "comparison.png")
    if all(row.curve for row in found.rows):
        draw_race(names, [row.curve for row in found.rows], COSTS, found.folder / "race.png")


def build_seconds(config: TrainConfig) -> float:
    """Return how long the bank takes to build with nothing cached; measured once, then kept."""
    kept = Path(str(config.run_dir)) / "build.json"
    if not kept.is_file():
        source = find_source(config.data)
        with nothing_cached():
            begun = time.monotonic()
            make_bank(config.centres, source.class_names, seed=config.seed, tree=source.parents)
            write_json(kept, {"seconds": time.monotonic() - begun})
    return float(read_json(kept, "a time")["seconds"])


def _read(words: Sequence[str]) -> tuple[Path, dict[str, list[str]], list[str]]:
    """Return the folder, every axis with its choices, and the words that are the same in all."""
    axes: dict[str, list[str]] = {}
    given = {"out": "runs/compare", "seed": "0"}
    rest = []
    for word in words:
        override = _parse(word)
        key, value = override.get_key_element(), override.value()
        if override.is_sweep_override():
            axes[key] = list(override.sweep_string_iterator())
        elif key in LISTS and isinstance(value, list):
            axes[LISTS[key]] = [str(choice) for choice in value]
        elif key in given:
            given[key] = word.partition("=")[2]
        else:
            rest.append(word)
    taken = {*axes, *(word.partition("=")[0] for word in words)}
    for key, choices in sweep_words("train", rest).items():
        if key not in taken:
            axes[key] = list(_parse(f"{key}={choices}").sweep_string_iterator())
    axes.setdefault("seed", [given["seed"]])
    if len(axes) == 1:
        raise UsageError("compare needs a word with several choices: centres=one_hot,word2vec")
    return Path(given["out"]), axes, rest


def _parse(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UsageError(f"{word!r} is not key=value or key=value,value") from error


def _words(
    folder: Path, names: Sequence[str], combination: Sequence[str], seed: str, rest: Sequence[str]
) -> list[str]:
    chosen = [f"{key}={value}" for key, value in zip(names, combination, strict=True)]
    place = re.sub(r"[^\w.=-]+", "-", "-".join([*combination, f"seed{seed}"]))
    return [*rest, *chosen, f"seed={seed}", f"run_dir={folder / place}"]


def _numbers(results: Mapping[str, Any]) -> dict[str, int | float]:
    return {k: v for k, v in results.items() if isinstance(v, int | float)}
