"""Many trainings that differ in a few words, in one table and one figure.

    semcentres compare centres=one_hot,word2vec,sentence seed=0,1,2 data=emoji out=runs/compare

A word with commas is an axis, as in a Hydra sweep; all combinations are trained, with equal steps
and the same seeds, each in a run folder of its own. So a stopped comparison goes on where it was.
"""

import json
import logging
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from centre_builders.artefact import write_file, write_json
from centre_builders.errors import UsageError
from centre_builders.text_cache import nothing_cached
from semcentres.banks import make_bank
from semcentres.compose import compose_settings
from semcentres.evaluation.report import draw_comparison
from semcentres.recipe import make_source
from semcentres.settings import TrainConfig
from semcentres.verbs import train

log = logging.getLogger(__name__)

# What a table shows, where the data has it: key of the results, heading, decimals.
COLUMNS = {
    "nearest_centre_accuracy": "accuracy",
    "nearest_centre_top_5": "top-5",
    "knn_accuracy": "kNN",
    "probe_accuracy": "linear probe",
    "map_at_r": "MAP@R",
    "mistake_severity": "mistake severity",
    "hp_images_at_5": "HP@5 (images)",
    "hp_classes_at_5": "HP@5 (classes)",
    "zero_shot_top_1": "unseen top-1",
    "zero_shot_top_5": "unseen top-5",
    "zero_shot_top_10": "unseen top-10",
    "zero_shot_all_top_5": "unseen among all, top-5",
    "max_cosine": "max cosine",
    "build_seconds": "build s",
}


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Args:
        folder: holds the runs, comparison.json and comparison.png.
        axes: words that differ, without the seed.
        rows: one a combination: its words, and its results of each seed.
    """

    folder: Path
    axes: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    def columns(self) -> dict[str, str]:
        """Return the keys that any row has, and their headings."""
        return {key: name for key, name in COLUMNS.items() if any(self._values(key))}

    def name(self, row: Mapping[str, Any]) -> str:
        """Return what a row is called: its choices."""
        return ", ".join(row["words"].values())

    def cell(self, row: Mapping[str, Any], key: str) -> tuple[float, float] | None:
        """Return mean and standard deviation over the seeds; None where a seed has no value."""
        values = [run["results"].get(key) for run in row["runs"]]
        if any(value is None for value in values):
            return None
        return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0

    def _values(self, key: str) -> list[bool]:
        return [self.cell(row, key) is not None for row in self.rows]


def compare(words: Sequence[str]) -> Comparison:
    """Train every combination of the words' choices and gather the results.

    Raises:
        UsageError: no word has several choices, or a word is wrong; nothing is trained then.
    """
    folder, axes, rest = _read(words)
    seeds = axes.pop("seed")
    combinations = list(product(*axes.values()))
    # All are composed before any is trained, so that a wrong word costs nothing.
    configs = {
        (chosen, seed): compose_settings("train", _words(folder, tuple(axes), chosen, seed, rest))
        for chosen in combinations
        for seed in seeds
    }
    rows = []
    for chosen in combinations:
        cells = [configs[chosen, seed] for seed in seeds]
        seconds = {"build_seconds": build_seconds(cells[0])}
        runs = []
        for config in cells:
            log.info("%s, seed %d: %s", ", ".join(chosen), config.seed, config.run_dir)
            _, results = train(config)
            runs.append({"seed": config.seed, "results": {**_numbers(results), **seconds}})
        rows.append({"words": dict(zip(axes, chosen, strict=True)), "runs": runs})
    found = Comparison(folder, tuple(axes), tuple(rows))
    write_json(folder / "comparison.json", {"words": list(words), "rows": rows})
    panels = {
        heading: [found.cell(row, key) for row in rows] for key, heading in found.columns().items()
    }
    draw_comparison([found.name(row) for row in rows], panels, folder / "comparison.png")
    write_file(folder / "comparison.md", markdown(found).encode())
    return found


def markdown(found: Comparison) -> str:
    """Return the table as Markdown, mean and standard deviation over the seeds."""
    columns = found.columns()
    lines = [[*found.axes, *columns.values()], ["---"] * (len(found.axes) + len(columns))]
    for row in found.rows:
        cells = [spread(found.cell(row, key)) for key in columns]
        lines.append([*row["words"].values(), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(cell: tuple[float, float] | None) -> str:
    """Return mean and standard deviation as text."""
    return "-" if cell is None else f"{cell[0]:.3f} ± {cell[1]:.3f}"


def build_seconds(config: TrainConfig) -> float:
    """Return how long the bank takes to build with nothing cached; measured once, then kept."""
    kept = Path(str(config.run_dir)) / "build.json"
    if not kept.is_file():
        source = make_source(config.data)
        with nothing_cached():
            begun = time.monotonic()
            make_bank(config.centres, source.class_names, seed=config.seed, tree=source.parents)
            write_json(kept, {"seconds": time.monotonic() - begun})
    return float(json.loads(kept.read_text())["seconds"])


def _read(words: Sequence[str]) -> tuple[Path, dict[str, list[str]], list[str]]:
    """Return the folder, every axis with its choices, and the words that are the same in all."""
    parser = OverridesParser.create()
    axes: dict[str, list[str]] = {}
    given = {"out": "runs/compare", "seed": "0"}
    rest = []
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException as error:
            raise UsageError(f"{word!r} is not key=value or key=value,value") from error
        key = override.get_key_element()
        if override.is_sweep_override():
            axes[key] = list(override.sweep_string_iterator())
        elif key in given:
            given[key] = word.partition("=")[2]
        else:
            rest.append(word)
    axes.setdefault("seed", [given["seed"]])
    if len(axes) == 1:
        raise UsageError("compare needs a word with several choices: centres=one_hot,word2vec")
    return Path(given["out"]), axes, rest


def _words(
    folder: Path, names: Sequence[str], combination: Sequence[str], seed: str, rest: Sequence[str]
) -> list[str]:
    chosen = [f"{key}={value}" for key, value in zip(names, combination, strict=True)]
    place = re.sub(r"[^\w.=-]+", "-", "-".join([*combination, f"seed{seed}"]))
    return [*rest, *chosen, f"seed={seed}", f"run_dir={folder / place}"]


def _numbers(results: Mapping[str, Any]) -> dict[str, int | float]:
    return {k: v for k, v in results.items() if isinstance(v, int | float)}
