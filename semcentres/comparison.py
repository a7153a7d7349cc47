"""What came of a comparison: a table, curves of accuracy, and what it costs to reach another's."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# What a table shows, where the data has it: key of the results, heading.
COLUMNS = {
    "accuracy": "accuracy",
    "nearest_centre_accuracy": "nearest centre",
    "nearest_centre_top_5": "top-5",
    "soft_neighbour_accuracy": "soft neighbours",
    "probe_accuracy": "linear probe",
    "feature_probe_accuracy": "probe before the head",
    "knn_accuracy": "kNN (all training labels)",
    "map_at_r": "MAP@R",
    "alignment": "alignment",
    "uniformity": "uniformity",
    "mistake_severity": "mistake severity",
    "hp_images_at_5": "HP@5 (images)",
    "hp_classes_at_5": "HP@5 (classes)",
    "zero_shot_top_1": "unseen top-1",
    "zero_shot_top_5": "unseen top-5",
    "zero_shot_top_10": "unseen top-10",
    "zero_shot_all_top_5": "unseen among all, top-5",
    "max_cosine": "max cosine",
    "build_seconds": "build s",
    "train_seconds": "training s",
}
# A classifier's accuracy on the held-out training images, and on the images of the report.
CLASSIFIERS = {
    "validation_accuracy": "nearest_centre_accuracy",
    "soft_neighbour_accuracy": "soft_neighbour_accuracy",
    "probe_accuracy": "probe_accuracy",
    "feature_probe_accuracy": "feature_probe_accuracy",
}
COSTS = ("step", "image_crops", "seconds")

Spread = tuple[float, float]  # mean and standard deviation over the seeds
Run = Mapping[str, Any]  # seed, results, curve: the records with an accuracy on held-out images


@dataclass(frozen=True)
class Row:
    """One combination of words, trained with every seed.

    Args:
        words: axis to choice, without the seed.
        runs: one a seed.
    """

    words: Mapping[str, str]
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """What the row is called: its choices."""
        return ", ".join(self.words.values())

    @cached_property
    def classifier(self) -> str | None:
        """The classifier that is best on the held-out training images at the end.

        A method without centres has no nearest one, a self-supervised one is judged before its
        last layer: so that each is judged by its best, and none by the images of the report.
        None where no images were held out (`data.validation`).
        """
        ends = [run["curve"][-1] if run["curve"] else {} for run in self.runs]
        known = [key for key in CLASSIFIERS if all(key in end for end in ends)]
        return max(known, key=lambda key: sum(end[key] for end in ends), default=None)

    def cell(self, key: str) -> Spread | None:
        """Return mean and standard deviation of a result; None where a seed has no value."""
        if key == "accuracy":
            key = CLASSIFIERS.get(self.classifier or "", "")
        values = [run["results"].get(key) for run in self.runs]
        return None if None in values else _spread(values)

    @cached_property
    def curve(self) -> list[dict[str, Spread]]:
        """`step`, `image_crops`, `seconds` and `accuracy` at each checkpoint."""
        if self.classifier is None:
            return []
        keys = {cost: cost for cost in COSTS} | {"accuracy": self.classifier}
        return [
            {name: _spread([at[key] for at in same]) for name, key in keys.items()}
            for same in zip(*(run["curve"] for run in self.runs), strict=True)
        ]

    def costs_of(self, target: "Row") -> dict[str, list[int | float]]:
        """Return what it costs to have another row's final accuracy: steps, crops, seconds.

        Each seed against the target's same seed, at its first checkpoint with that accuracy on
        the held-out training images; a seed that never has it is left out.
        """
        found: dict[str, list[int | float]] = {cost: [] for cost in COSTS}
        for run, other in zip(self.runs, target.runs, strict=True):
            wanted = other["curve"][-1][target.classifier]
            reached = (at for at in run["curve"] if at[self.classifier] >= wanted)
            if (first := next(reached, None)) is not None:
                for cost, values in found.items():
                    values.append(first[cost])
        return found


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Args:
        folder: holds the runs, comparison.json, comparison.md and the pictures.
        axes: words that differ, without the seed.
        rows: one a combination.
    """

    folder: Path
    axes: tuple[str, ...]
    rows: tuple[Row, ...]

    @cached_property
    def columns(self) -> dict[str, str]:
        """The keys that any row has, and their headings."""
        return {
            key: heading
            for key, heading in COLUMNS.items()
            if any(row.cell(key) is not None for row in self.rows)
        }

    def reached(self) -> dict[str, dict[str, dict[str, list[int | float]]]]:
        """Return `costs_of` of all rows: target, row, cost to a value a seed that has it."""
        if not all(row.curve for row in self.rows):
            return {}
        return {
            target.name: {row.name: row.costs_of(target) for row in self.rows}
            for target in self.rows
        }

    def as_json(self) -> dict[str, Any]:
        """Return all of it for scripts."""
        rows = [
            {"words": dict(row.words), "classifier": row.classifier, "runs": list(row.runs)}
            for row in self.rows
        ]
        return {"rows": rows, "reached": self.reached()}

    def markdown(self) -> str:
        """Return the tables as Markdown."""
        text = f"Mean ± standard deviation over {len(self.rows[0].runs)} seeds.\n\n"
        text += self._table(list(self.columns.values()), lambda row: self.cells(row))
        reached = self.reached()
        if reached:
            text += (
                "\nSeconds (steps) of training until a row has the final accuracy of a column, on"
                " the held-out training images; in brackets behind it how many seeds reach it,"
                " where not all do:\n\n"
            )
            text += self._table(
                list(reached),
                lambda row: [_cost(to[row.name], len(row.runs)) for to in reached.values()],
            )
        return text

    def cells(self, row: Row) -> list[str]:
        """Return a row's values as text, in the order of the columns."""
        found = {key: as_text(row.cell(key)) for key in self.columns}
        if row.classifier:
            found["accuracy"] += f" by {COLUMNS[CLASSIFIERS[row.classifier]]}"
        return list(found.values())

    def _table(self, headings: list[str], cells: Callable[[Row], list[str]]) -> str:
        lines = [[*self.axes, *headings], ["---"] * (len(self.axes) + len(headings))]
        lines += [[*row.words.values(), *cells(row)] for row in self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _spread(values: Sequence[int | float]) -> Spread:
    return float(statistics.mean(values)), statistics.stdev(values) if len(values) > 1 else 0.0


def as_text(cell: Spread | None) -> str:
    """Return mean and standard deviation as text."""
    return "-" if cell is None else f"{cell[0]:.3f} ± {cell[1]:.3f}"


def _cost(cost: Mapping[str, list[int | float]], num: int) -> str:
    seconds, steps = cost["seconds"], cost["step"]
    if not seconds:
        return "-"
    seen = "" if len(seconds) == num else f" [{len(seconds)} of {num}]"
    return f"{statistics.mean(seconds):.0f} ({statistics.mean(steps):.0f}){seen}"
