"""The verb `train`: from settings to a run folder, by one process or by those of torchrun.

The first process writes; it alone reads the names, builds the centres and assesses. The others
begin when what it has written is there, train beside it and embed their share of what it assesses.
"""

import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from centre_builders.bank import CentreBank
from centre_builders.errors import InputError, UsageError
from centre_builders.json_files import read_sealed
from semcentres.approximate import check_wanted
from semcentres.backbones import check_images
from semcentres.banks import make_bank
from semcentres.calibrate import calibrate
from semcentres.checkpoint import Results, RunFolder
from semcentres.components import build
from semcentres.compose import save_config
from semcentres.data.files import FileSource
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split
from semcentres.data.split_file import (
    check_unchanged,
    in_run_order,
    save_split,
    warn_of_duplicates,
)
from semcentres.data.stream import Stream
from semcentres.encoder import Encoder
from semcentres.hardware import own_device
from semcentres.identity import check_force, check_same_config, default_run_dir
from semcentres.interrupt import saved, seconds_of
from semcentres.model import Model
from semcentres.objectives.batch import Objective
from semcentres.objectives.paws import PAWS
from semcentres.ranks import Ranks, leave
from semcentres.recipe import (
    check_temperature,
    describe,
    find_source,
    given,
    labelled_images,
    make_split,
    read_source,
    select,
    unlabelled_batch,
)
from semcentres.seen import Embedded, see
from semcentres.settings import TrainConfig
from semcentres.task import Task
from semcentres.trainer import Trainer
from semcentres.watchdog import Watchdog, together
from semcentres.weights import CENTRES, make_encoder, save_model

log = logging.getLogger(__name__)

# What the process that writes says to the others.
READY, SAVED, DONE = "ready", "saved", "done"


def train(config: TrainConfig, source: Source | None = None) -> tuple[RunFolder, Results]:
    """Train, or go on training, and assess; a finished run is assessed only once.

    What costs little is checked first; images in files are read last.

    Args:
        config: what to do.
        source: images made in Python, in place of the configuration's.

    Raises:
        Stopped: a signal arrived or the time is over; what was done is saved.
        InputError: the data, the names, the bank or the run folder do not fit.
    """
    # Before hours are spent, not after.
    check_wanted(config.index, config.index_recall)
    check_force(config.force)
    seconds_of(config.max_time)
    for view in config.views.values():
        build(view, "views")
    if source is not None:
        config = replace(config, data=replace(config.data, source=given(source)))
    with together(config.trainer) as others:
        if others.ranks.first:
            return _lead(config, source, others)
        return _follow(config, source, others)


def _lead(
    config: TrainConfig, source: Source | None, others: Watchdog
) -> tuple[RunFolder, Results]:
    """Train as the process that writes; it is the only one where torchrun has started no others."""
    found = source or find_source(config.data)
    objective = _objective(config)
    run = RunFolder(Path(config.run_dir or default_run_dir(config, found.name)))
    with run.lock():
        if not config.restart:
            check_same_config(run.path, config)
            found = in_run_order(run.path, found)
        bank = make_bank(config.centres, found.class_names, seed=config.seed, tree=found.parents)
        check_temperature(objective.temperature, bank, force=config.force_temperature)
        finished = None if config.restart else read_results(run)
        if finished is not None:
            log.info("%s is finished; restart=true trains it again", run.path)
            others.say(READY, DONE)
            return run, finished
        # What is wrong with the labels is told before an image is read.
        make_split(config, found)
        source = read_source(found)
        if not config.restart:
            source = check_unchanged(run.path, source, config.force)
        split = make_split(config, source)
        warn_of_duplicates(source)
        if config.restart:
            run.clear()  # now that nothing is left that may be refused
        save_config(run.path / "config.yaml", config)
        bank.save(run.path / CENTRES)
        if others.ranks.count > 1:
            bank = CentreBank.load(run.path / CENTRES, mapped=True)  # in place of a copy of its own
        save_split(run.path, source, split)
        log.info(describe(config, source, split, bank))
        if not len(split.validation):
            log.warning(
                "no validation images: confidences and the verdict 'none of these' will be"
                " calibrated on images that were trained on, and be far off with few labels;"
                " data.validation=N keeps N images out for it"
            )
        others.say(READY, "")
        encoder = _fit(config, source, split, bank, objective, run, others.ranks)
        views = list(config.views.values())
        with saved(config.trainer.steps):
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
            others.say(SAVED, "")
            model = _trained(run, config, others.ranks)
            seen = see(model, source, split, config.split, others.ranks)
            leave()
            # Imported here: metrics and pictures take longer to load than a training to begin.
            from semcentres.assess import assess

            results = assess(run, model, source, split, seen, config)
        others.say(DONE, "")
        return run, results


def _follow(
    config: TrainConfig, source: Source | None, others: Watchdog
) -> tuple[RunFolder, Results]:
    """Train beside the process that writes, from what it has written; return what it returns.

    The centres are mapped from the run folder, so that a machine holds them once.
    """
    already = others.wait_for_first(READY) == DONE
    found = source or find_source(config.data)
    run = RunFolder(Path(config.run_dir or default_run_dir(config, found.name)))
    if not already:
        bank = CentreBank.load(run.path / CENTRES, mapped=True)
        found = in_run_order(run.path, found)
        source = check_unchanged(run.path, _read_in_turn(found, others), config.force)
        split = make_split(config, source)
        _fit(config, source, split, bank, _objective(config), run, others.ranks)
        others.wait_for_first(SAVED)
        model = _trained(run, config, others.ranks)
        see(model, source, split, config.split, others.ranks)
        leave()
        others.wait_for_first(DONE)
    results = read_results(run)
    if results is None:
        raise InputError(f"{run.path} has no results; it must be the same folder for all processes")
    return run, results


def _read_in_turn(found: Source | FileSource, others: Watchdog) -> Source:
    """Read the images; one process a machine is first, so that it decodes into the others' cache.

    On the machine of the process that writes, that one was.
    """
    key, first = f"read/{os.environ['GROUP_RANK']}", os.environ["LOCAL_RANK"] == "0"
    if not first and os.environ["GROUP_RANK"] != "0":
        others.wait_for_first(key)
    source = read_source(found)
    if first:
        others.say(key, "")
    return source


def _objective(config: TrainConfig) -> Objective:
    # It may have weights of its own.
    torch.manual_seed(config.seed)
    objective: Objective = build(config.objective)
    if isinstance(objective, PAWS) and not config.trainer.labelled_batch:
        raise UsageError("objective=paws predicts by labelled images; set trainer.labelled_batch")
    return objective


def read_results(run: RunFolder) -> Results | None:
    """Return a finished run's results, None where it is not finished."""
    path = run.path / "metrics.json"
    return read_sealed(path, "a run's results") if path.exists() else None


def _fit(
    config: TrainConfig,
    source: Source,
    split: Split,
    bank: CentreBank,
    objective: Objective,
    run: RunFolder,
    ranks: Ranks,
) -> torch.nn.Module:
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
        unlabelled=Stream(split.unlabelled, unlabelled_batch(config, split), seed, "unlabelled"),
        views=[build(view, "views") for view in config.views.values()],
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
        score = partial(_validate, held=held, labelled=known, centres=task.centres, ranks=ranks)
    return Trainer(task, encoder, objective, loop).fit(
        run,
        about={"bank": bank.fingerprint, "data": source.fingerprint},
        evaluate=score,
        max_seconds=seconds_of(config.max_time),
        force=config.force,
    )


def _trained(run: RunFolder, config: TrainConfig, ranks: Ranks) -> Model:
    """Return the model as it was saved, on the device of the training."""
    model = Model.load(run.path, mapped=ranks.count > 1)
    return model.to(own_device(config.trainer.device))


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
    encoder: Encoder, *, held: ImageSet, labelled: ImageSet, centres: torch.Tensor, ranks: Ranks
) -> dict[str, float]:
    """Return the accuracies on held-out training images, `validation_accuracy` by the centres.

    All ranks embed, and the first alone measures; the others get nothing.
    """
    from semcentres.measure import by_labelled

    width = centres.shape[1]
    asked, taught = (Embedded.of(encoder, part, width, ranks) for part in (held, labelled))
    if not ranks.first:
        return {}
    found = by_labelled(asked, taught, centres.numpy())
    return {"validation_accuracy": found.pop("nearest_centre_accuracy"), **found}
