"""The verb `evaluate`: a run folder's model, data and split to results."""

from dataclasses import replace
from pathlib import Path

from centre_builders.bank import CentreBank
from centre_builders.errors import InputError
from semcentres.checkpoint import Results, RunFolder
from semcentres.compose import load_config
from semcentres.data.source import Source
from semcentres.data.split_file import check_unchanged
from semcentres.identity import check_force
from semcentres.model import Model
from semcentres.recipe import make_source, make_split, select
from semcentres.settings import EvaluateConfig, TrainConfig


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
    check_force(config.force)
    source = check_unchanged(run.path, source or make_source(trained.data), config.force)
    with run.lock():
        asked = replace(trained, split=config.split)
        return run, assess_run(run, asked, source, bank, num_views=config.num_views)


def assess_run(
    run: RunFolder,
    config: TrainConfig,
    source: Source,
    bank: CentreBank | None = None,
    *,
    num_views: int = 1,
) -> Results:
    """Assess what a run folder holds, by the run's own centres or by others; see `assess`."""
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
