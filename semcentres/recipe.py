"""From settings to the parts of a run, and what must hold between them and the bank."""

import logging
import math
from dataclasses import replace

import torch

from centre_builders.bank import CentreBank
from centre_builders.errors import InputError, UsageError
from centre_builders.vocabulary import check_names
from semcentres.components import build
from semcentres.data.files import FileSource
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split, split_labels
from semcentres.settings import DataSettings, TrainConfig

log = logging.getLogger(__name__)


def find_source(settings: DataSettings) -> Source | FileSource:
    """Return the data that the settings name; image files are listed and not yet read."""
    source: Source | FileSource = build(settings.source, "data")
    names = check_names((*source.class_names, *source.novel_names))
    num = len(source.class_names)
    return replace(source, class_names=names[:num], novel_names=names[num:])


def read_source(found: Source | FileSource) -> Source:
    """Return the data with its pixels."""
    return found.read() if isinstance(found, FileSource) else found


def make_source(settings: DataSettings) -> Source:
    """Return the data that the settings name, with its pixels."""
    return read_source(find_source(settings))


def given(source: Source) -> dict[str, str]:
    """Return what a configuration says of images that were made in Python."""
    return {"_target_": "semcentres.data.dataset.only_in_python", "name": source.name}


def make_split(config: TrainConfig, source: Source | FileSource) -> Split:
    """Return which training images are labelled, unlabelled and held out."""
    return split_labels(
        source,
        labels_per_class=config.data.labels_per_class,
        validation=config.data.validation,
        seed=config.seed,
    )


def select(source: Source, split: Split, name: str) -> tuple[ImageSet, torch.Tensor]:
    """Return the images of a split by its name, and their rows."""
    if name == "test":
        return source.test, torch.arange(len(source.test))
    if name not in ("train", "validation"):
        raise UsageError(f"split={name}: there are train, validation, test")
    rows = torch.cat([split.labelled, split.unlabelled]).sort().values
    rows = rows if name == "train" else split.validation
    if not len(rows):
        raise UsageError("the run kept no validation images; train with data.validation=5000")
    if name == "train" and len(rows) == len(source.train):
        return source.train, rows  # without a copy
    return source.train.take(rows), rows


def labelled_images(source: Source, split: Split, most: int = 10_000) -> ImageSet:
    """Return the images whose labels the training knows, evenly thinned where they are many."""
    rows = split.labelled[:: math.ceil(len(split.labelled) / most)]
    return source.train.take(rows)


def check_temperature(temperature: float | None, bank: CentreBank, *, force: bool) -> None:
    """Refuse a soft-min that the bank's centres cannot keep apart.

    Raises:
        InputError: the temperature is above the safe one and not forced.
    """
    if temperature is None:
        return
    safe = bank.geometry().safe_temperature
    if temperature <= safe:
        return
    message = (
        f"objective.temperature={temperature} is above {safe:.3f}, the highest at which the"
        " soft-min of these centres still has its minima at the centres; above it unlabelled"
        " images collapse between them"
    )
    if not force:
        raise InputError(
            f"{message}: lower it, take centres further apart (centres.remove_mean=true where the"
            " names are text), or set force_temperature=true"
        )
    log.warning("%s (forced)", message)


def unlabelled_batch(config: TrainConfig, split: Split) -> int:
    """Return how many images without a label a batch has: no more than there are."""
    return min(config.trainer.unlabelled_batch, len(split.unlabelled))


def describe(config: TrainConfig, source: Source, split: Split, bank: CentreBank) -> str:
    """Return in one line what a training run is about to do."""
    loop = config.trainer
    unlabelled = unlabelled_batch(config, split)
    crops = loop.steps * len(config.views) * (loop.labelled_batch + unlabelled)
    passes = loop.steps * unlabelled / max(1, len(split.unlabelled))
    return (
        f"{source.name}: {len(split.labelled):,} labelled, {len(split.unlabelled):,} unlabelled"
        f" images, {len(bank.names)} classes in {bank.dimension} dimensions; batch"
        f" {loop.labelled_batch}+{unlabelled} in {len(config.views)} views, {loop.steps:,} steps ="
        f" {crops:,} image crops, {passes:.1f} passes over the unlabelled"
    )
