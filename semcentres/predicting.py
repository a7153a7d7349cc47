"""The verb `predict`: images from files or from a run's own data, to a line an image."""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from centre_builders.artefact import write_file
from centre_builders.errors import InputError, UsageError
from semcentres.compose import load_config
from semcentres.data.listing import list_images
from semcentres.data.readable import read_images
from semcentres.data.split_file import check_unchanged
from semcentres.model import Model
from semcentres.prediction import UNCALIBRATED, Calibration, Predictions
from semcentres.progress import counting
from semcentres.queries import image_shape
from semcentres.recipe import make_source, make_split, select
from semcentres.rows import to_csv
from semcentres.settings import PredictConfig

log = logging.getLogger(__name__)

COLUMNS = (
    "image", "class", "confidence", "runner_up", "runner_up_confidence", "energy", "known",
)  # fmt: skip
FORMATS = ("csv", "jsonl")
BATCH = 1024  # files that are decoded at a time

Row = dict[str, Any]  # one value a column


@dataclass(frozen=True)
class Predicted:
    """What the verb has done.

    Args:
        rows: of the images, in their order.
        calibration: what confidences and verdicts rest on.
        bad: one line for each file that could not be read.
        out: what was asked; None where the rows are to be shown.
        file: where they were written, if to a file.
    """

    rows: list[Row]
    calibration: Calibration
    bad: list[str]
    out: str | None
    file: Path | None


def predict(config: PredictConfig) -> Predicted:
    """Classify images and write a line for each, if asked to.

    Raises:
        InputError: there is no such run, or no image that it could read.
        UsageError: `out` is of an unknown kind, or `num_views` or `average` is out of range.
    """
    form = _format(config.out)
    model = Model.load(config.run_dir)
    if model.calibration is UNCALIBRATED:
        log.warning(
            "%s was trained before models were calibrated: confidences are those of temperature 1,"
            " and every image counts as known; restart=true trains it again",
            config.run_dir,
        )
    parts = _of_data(model, config) if config.images is None else _of_files(model, config)
    rows: list[Row] = []
    bad: list[str] = []
    for ids, found, faults in parts:
        for fault in faults:
            log.warning("%s", fault)
        bad += faults
        rows += rows_of(ids, found)
    if not rows:
        raise InputError(f"none of {len(bad)} images can be read; the first one: {bad[0]}")
    file = None if config.out in (None, form) else Path(str(config.out))
    if form is not None:
        text = to_csv(rows) if form == "csv" else to_jsonl(rows)
        if file is None:
            sys.stdout.write(text)
        else:
            write_file(file, text.encode())
    return Predicted(rows, model.calibration, bad, config.out, file)


Part = tuple[Sequence[Any], Predictions, list[str]]


def _of_data(model: Model, config: PredictConfig) -> Iterator[Part]:
    """Yield the predictions for a split of the run's own data, by file or else by row number."""
    trained = load_config(Path(config.run_dir) / "config.yaml")
    source = check_unchanged(Path(config.run_dir), make_source(trained.data))
    images, rows = select(source, make_split(trained, source), config.split)
    found = model.predict(images.images, views=config.num_views, average=config.average)
    yield images.paths or rows.tolist(), found, []


def _of_files(model: Model, config: PredictConfig) -> Iterator[Part]:
    """Yield the predictions for image files, batch by batch, under their paths."""
    paths = [path for path, _ in list_images(config.images, model.bank.names)]
    parts = read_images(paths, batch=BATCH, **image_shape(model.about))
    with counting(len(paths), "images predicted") as count:
        for good, images, faults in parts:
            yield (
                good,
                model.predict(images, views=config.num_views, average=config.average),
                faults,
            )
            count(len(good) + len(faults))


def rows_of(ids: Sequence[Any], found: Predictions) -> list[Row]:
    """Return one row an image, in the order of `COLUMNS`."""
    values = (tuple(asdict(one).values()) for one in found)
    return [
        dict(zip(COLUMNS, (id_ if isinstance(id_, int) else str(id_), *rest), strict=True))
        for id_, rest in zip(ids, values, strict=True)
    ]


def to_jsonl(rows: Sequence[Row]) -> str:
    """Return the rows as JSON, one a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _format(out: str | None) -> str | None:
    """Return csv or jsonl, by the word or by the suffix of the file."""
    if out is None:
        return None
    form = out if out in FORMATS else Path(out).suffix.removeprefix(".")
    if form not in FORMATS:
        raise UsageError(f"out={out}: name a file that ends in .csv or .jsonl, or write out=csv")
    return form
