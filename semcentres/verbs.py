"""What the command does, verb by verb, as functions of a checked configuration."""

import json
import logging
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from centre_builders.artefact import write_file
from centre_builders.bank import CentreBank
from centre_builders.errors import InputError
from semcentres.approximate import check_wanted
from semcentres.backbones import check_images
from semcentres.banks import centres as centres  # a verb too
from semcentres.banks import make_bank
from semcentres.bundle import export as export  # a verb too
from semcentres.calibrate import calibrate
from semcentres.checkpoint import Results, RunFolder
from semcentres.components import build
from semcentres.compose import load_config
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split
from semcentres.data.split_file import check_unchanged, save_split, warn_of_duplicates
from semcentres.data.stream import Stream
from semcentres.encoder import Encoder
from semcentres.finding import search as search
from semcentres.identity import check_same_config, default_run_dir
from semcentres.indexing import index as index
from semcentres.model import Model
from semcentres.objectives.batch import Objective
from semcentres.predicting import predict as predict
from semcentres.recipe import (
    check_temperature,
    describe,
    find_source,
    given,
    labelled_images,
    make_source,
    make_split,
    read_source,
    select,
)
from semcentres.settings import CheckConfig, EvaluateConfig, RobustnessConfig, TrainConfig
from semcentres.sharding import embed as embed
from semcentres.task import Task
from semcentres.trainer import Trainer
from semcentres.web.serve import serve as serve
from semcentres.weights import make_encoder, save_model

if TYPE_CHECKING:
    from semcentres.check import DataCheck

log = logging.getLogger(__name__)


def train(config: TrainConfig, source: Source | None = None) -> tuple[RunFolder, Results]:
    """Train, or go on training, and assess; a finished run is assessed only once.

    What costs little is checked first; images in files are read last.

    Args:
        config: what to do.
        source: images made in Python, in place of the configuration's.

    Raises:
        Stopped: a signal arrived; what was done is saved.
        InputError: the data, the names, the bank or the run folder do not fit.
    """
    # Before hours are spent, not after.
    check_wanted(config.index, config.index_recall)
    if source is not None:
        config = replace(config, data=replace(config.data, source=given(source)))
    found = source or find_source(config.data)
    # An objective may have weights of its own.
    torch.manual_seed(config.seed)
    objective: Objective = build(config.objective)
    run = RunFolder(Path(config.run_dir or default_run_dir(config, found.name)))
    with run.lock():
        if config.restart:
            run.clear()
        check_same_config(run.path, config)
        bank = make_bank(config.centres, found.class_names, seed=config.seed, tree=found.parents)
        check_temperature(objective.temperature, bank, force=config.force_temperature)
        finished = read_results(run)
        if finished is not None:
            log.info("%s is finished; restart=true trains it again", run.path)
            return run, finished
        split = make_split(config, found)
        source = read_source(found)
        check_unchanged(run.path, source)
        warn_of_duplicates(source)
        about = {"bank": bank.fingerprint, "data": source.fingerprint}
        write_file(run.path / "config.yaml", yaml.safe_dump(asdict(config)).encode())
        bank.save(run.path / "centres.safetensors")
        save_split(run.path, source, split)
        encoder = _fit(config, source, split, bank, objective, run, about)
        views = list(config.views.values())
        save_model(
            run.path,
            encoder,
            component=config.encoder,
            bank=bank,
            images=source.train.images,
            data=source.name,
            view=views[0],
            calibration=calibrate(encoder, bank, source, split, build(views[-1]), config.seed),
        )
        return run, _assess_run(run, config, source)


def check(config: CheckConfig) -> "DataCheck":
    """Read all images and say what is wrong with them, or would be in training."""
    from semcentres.check import check_data

    return check_data(config)


def evaluate(config: EvaluateConfig, source: Source | None = None) -> tuple[RunFolder, Results]:
    """Assess a trained run anew, perhaps by other centres or on another split.

    Args:
        config: what to do.
        source: the images, where the run was trained on images made in Python.

    Raises:
        InputError: the data has changed since, or something does not fit.
    """
    run = RunFolder(Path(config.run_dir))
    trained = load_config(run.path / "config.yaml")
    bank = None if config.bank is None else CentreBank.load(Path(config.bank))
    source = source or make_source(trained.data)
    check_unchanged(run.path, source)
    with run.lock():
        asked = replace(trained, split=config.split)
        return run, _assess_run(run, asked, source, bank, num_views=config.num_views)


def robustness(config: RobustnessConfig, source: Source | None = None) -> tuple[RunFolder, Results]:
    """Attack a trained run's images, and certify them."""
    from semcentres.measure_robustness import robustness

    return robustness(config, source)


def read_results(run: RunFolder) -> Results | None:
    """Return a finished run's results, None where it is not finished."""
    path = run.path / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else None


def _fit(
    config: TrainConfig,
    source: Source,
    split: Split,
    bank: CentreBank,
    objective: Objective,
    run: RunFolder,
    about: dict[str, Any],
) -> torch.nn.Module:
    log.info(describe(config, source, split, bank))
    loop, seed = config.trainer, config.seed
    task = Task(
        images=source.train,
        labelled=Stream(
            split.labelled,
            loop.labelled_batch,
            seed,
            "labelled",
            classes=source.train.labels[split.labelled] if loop.balanced_batches else None,
        ),
        unlabelled=Stream(split.unlabelled, loop.unlabelled_batch, seed, "unlabelled"),
        views=[build(view) for view in config.views.values()],
        centres=torch.from_numpy(bank.vectors),
        seed=seed,
    )
    torch.manual_seed(seed)
    encoder = make_encoder(
        config.encoder, channels=source.channels, bank=bank, statistics=source.statistics
    )
    check_images(encoder, source.train.images)
    if config.start_from is not None:
        _take_weights(encoder, config.start_from)
    score = None
    if len(split.validation):
        held, _ = select(source, split, "validation")
        known = labelled_images(source, split)
        score = partial(_validate, held=held, labelled=known, centres=task.centres)
    return Trainer(task, encoder, objective, loop).fit(run, about=about, evaluate=score)


def _take_weights(encoder: torch.nn.Module, run_dir: str) -> None:
    """Let an encoder begin with a run's weights."""
    weights = Model.load(run_dir).encoder.state_dict()
    wanted = {name: value.shape for name, value in encoder.state_dict().items()}
    if wanted != {name: value.shape for name, value in weights.items()}:
        raise InputError(
            f"start_from={run_dir} has an encoder of another shape; train with its encoder, its"
            " channels and its centres.dimension"
        )
    encoder.load_state_dict(weights)


def _validate(
    encoder: Encoder, *, held: ImageSet, labelled: ImageSet, centres: torch.Tensor
) -> dict[str, float]:
    """Return the accuracies on held-out training images, `validation_accuracy` by the centres."""
    from semcentres.measure import Embedded, by_labelled

    asked, taught = (Embedded.of(encoder, part, centres.shape[1]) for part in (held, labelled))
    found = by_labelled(asked, taught, centres.numpy())
    return {"validation_accuracy": found.pop("nearest_centre_accuracy"), **found}


def _assess_run(
    run: RunFolder,
    config: TrainConfig,
    source: Source,
    bank: CentreBank | None = None,
    *,
    num_views: int = 1,
) -> Results:
    # Imported here: metrics and pictures take longer to load than a training takes to begin.
    from semcentres.assess import assess

    model = Model.load(run.path)
    if bank is not None:
        model = model.with_bank(_fitting(bank, model, source))
    split = make_split(config, source)
    held, _ = select(source, split, config.split)
    return assess(run, model, source, split, held, config, num_views=num_views)


def _fitting(bank: CentreBank, model: Model, source: Source) -> CentreBank:
    if bank.dimension != model.bank.dimension:
        raise InputError(
            f"the encoder gives {model.bank.dimension} dimensions, the bank has {bank.dimension};"
            f" build it with centres.dimension={model.bank.dimension}"
        )
    return bank.select(source.class_names)
