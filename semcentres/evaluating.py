"""The verb `evaluate`: a run folder's model, data and split to results."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from centre_builders.artefact import MANIFEST, read_manifest
from centre_builders.bank import CentreBank
from centre_builders.errors import InputError, refused_unless
from semcentres.checkpoint import Results, RunFolder
from semcentres.compose import load_config
from semcentres.data.source import Source
from semcentres.data.split_file import check_unchanged
from semcentres.hardware import own_device
from semcentres.identity import check_force
from semcentres.model import Model
from semcentres.recipe import make_source, make_split
from semcentres.seen import see
from semcentres.settings import EvaluateConfig, TrainConfig
from semcentres.weights import WEIGHTS


def evaluate(config: EvaluateConfig, source: Source | None = None) -> tuple[RunFolder, Results]:
    """Assess a trained run anew, perhaps by other centres or on another split.

    Args:
        config: what to do.
        source: the images, where the run was trained on images made in Python.

    Raises:
        InputError: the data has changed since, the model is another run's, or something does not
            fit.
    """
    run = RunFolder(Path(config.run_dir))
    trained = load_config(run.path / "config.yaml")
    bank = None if config.bank is None else CentreBank.load(Path(config.bank))
    check_force(config.force)
    source = check_unchanged(run.path, source or make_source(trained.data), config.force)
    model = Model.load(run.path)
    _check_own(run, trained, model.about)
    # Imported here: metrics and pictures take longer to load than a training takes to begin.
    from semcentres.assess import assess

    with run.lock():
        asked = replace(trained, split=config.split)
        if bank is not None:
            model = model.with_bank(_fitting(bank, model, source))
        split = make_split(asked, source)
        model = model.to(own_device(asked.trainer.device))
        seen = see(model, source, split, asked.split)
        return run, assess(run, model, source, split, seen, asked, num_views=config.num_views)


def _check_own(run: RunFolder, trained: TrainConfig, about: Mapping[str, Any]) -> None:
    """Refuse a model that this run has not trained, such as one that was copied here."""
    there, here = (
        {k: v for k, v in encoder.items() if k not in ("weights", "size")}  # not as they were given
        for encoder in (about["encoder"], trained.encoder)
    )
    different = [
        f"encoder.{key}: {there.get(key)} in {WEIGHTS}, {here.get(key)} in config.yaml"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    bank = about["bank"]
    if saved := run.steps():
        with refused_unless(saved[-1] / MANIFEST, "a checkpoint's manifest"):
            bank = str(read_manifest(saved[-1])["about"]["bank"])
    if bank != about["bank"]:
        different.append(f"bank: {about['bank'][:12]} in {WEIGHTS}, {bank[:12]} in checkpoints")
    if different:
        raise InputError(
            f"{run.path / WEIGHTS} is another run's ({'; '.join(different)}); put the run's own"
            " back, or name the other's run_dir"
        )


def _fitting(bank: CentreBank, model: Model, source: Source) -> CentreBank:
    if bank.dimension != model.bank.dimension:
        raise InputError(
            f"the encoder gives {model.bank.dimension} dimensions, the bank has {bank.dimension};"
            f" build it with centres.dimension={model.bank.dimension}"
        )
    try:
        return bank.select(source.class_names)
    except InputError as error:
        raise InputError(
            f"{error}; build it of the data's classes, as `centres data=...` does"
        ) from error
