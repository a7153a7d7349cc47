"""From settings to a bank of centres: class names, builder, conditioning, later changes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from centre_builders.artefact import write_json
from centre_builders.audit import Audit, audit
from centre_builders.bank import CentreBank
from centre_builders.building import build_bank
from centre_builders.changes import add, close_pairs, rename, retire
from centre_builders.class_names import ClassNames, check_class_names, read_class_names
from centre_builders.conditioning import Step
from centre_builders.errors import InputError, UsageError
from centre_builders.protocol import CentreBuilder
from centre_builders.prototypes import Prototypes
from centre_builders.steps import Assign, OwnAxes, RemoveDirections, Whiten
from centre_builders.taxonomy import Parents
from semcentres.components import build
from semcentres.recipe import find_source
from semcentres.settings import CentresConfig, CentresSettings

log = logging.getLogger(__name__)


def centres(config: CentresConfig) -> CentreBank | Audit:
    """Build a bank from class names, or change one, and write it if asked; or audit the names.

    Raises:
        UsageError: a changed bank has no file to go to.
        InputError: the names, the builder or the bank do not fit.
    """
    beside = [key for key in ("names", "names_file") if getattr(config, key) is not None]
    beside += ["audit"] if config.audit else []
    if config.bank is not None and beside:
        raise UsageError(f"bank={config.bank} has its names; leave out {', '.join(beside)}")
    if config.audit:
        return _audit(config, *class_names(config))
    if config.bank is not None:
        bank = CentreBank.load(Path(config.bank))
    else:
        given, tree = class_names(config)
        found = check_class_names(given)
        bank = make_bank(
            config.centres,
            found.names,
            seed=config.seed,
            descriptions=found.descriptions,
            tree=tree,
        )
    if (config.add or config.rename or config.retire) and config.out is None:
        raise UsageError("a changed bank is a new file; set out=FILE.safetensors")
    bank = changed(bank, config)
    for new, other, angle in close_pairs(bank, config.add or [], degrees=config.close):
        log.warning("%r is %.1f degrees from %r; describe it further apart", new, angle, other)
    if config.out is not None:
        bank.save(Path(config.out))
    if config.report is not None:
        # Imported here: matplotlib would delay every verb.
        from semcentres.evaluation import classification
        from semcentres.evaluation.report import draw_bank, draw_recorded

        report = Path(config.report)
        if len(bank.names) <= classification.MAX_MATRIX:
            draw_bank(bank.vectors, bank.names, report / "bank.png")
        else:
            log.info("no bank.png: %s classes are too many for a matrix", len(bank.names))
        draw_recorded(bank.provenance["source"], report / "trade_off.png")
    return bank


def class_names(config: CentresConfig) -> tuple[ClassNames, Parents | None]:
    """Return the names that the words give, else the data's with its hierarchy; not yet checked.

    Raises:
        UsageError: two words give names.
    """
    if config.names is not None and config.names_file is not None:
        raise UsageError("names and names_file are both set; give one of them")
    if config.names_file is not None:
        found = read_class_names(config.names_file, number_duplicates=config.number_duplicates)
        return found, None
    if config.names is not None:
        _check_texts(config.names)
        return ClassNames(tuple(config.names)), None
    source = find_source(config.data)
    return ClassNames(source.class_names), source.parents


def text_map(key: str, value: Any) -> dict[str, str]:  # noqa: ANN401
    """Return a setting that maps text to text; None is empty.

    Raises:
        UsageError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) for pair in value.items() for text in pair
    ):
        raise UsageError(
            f"{key}={value!r} is no mapping of text to text; give {key}={{name: text}}"
        )
    return dict(value)


def _check_texts(names: Sequence[object]) -> None:
    for row, name in enumerate(names):
        if not isinstance(name, str):
            kind = type(name).__name__
            raise InputError(f"class {row} is {name!r}, of type {kind}, not text; quote it")


def make_builder(settings: CentresSettings) -> CentreBuilder:
    """Return the builder that the settings name."""
    if settings.builder is None:
        raise UsageError("centres=bank needs centres.bank=FILE, made by semcentres centres")
    builder: CentreBuilder = build(settings.builder, "centres")
    return builder


def make_bank(
    settings: CentresSettings,
    names: Sequence[str],
    *,
    seed: int,
    descriptions: Mapping[str, str] | None = None,
    tree: Parents | None = None,
) -> CentreBank:
    """Return the centres of the names, from a bank file or from a builder.

    Args:
        settings: of the centres.
        names: class names.
        seed: of the builder's draws.
        descriptions: besides those of the settings, which come first.
        tree: the data's own hierarchy, child to parent, for centres.builder.tree=data.

    Raises:
        InputError: the bank file lacks a name, or has another width than asked.
    """
    if settings.bank is None:
        settings = _with_tree(settings, tree)
        told = {**(descriptions or {}), **text_map("centres.descriptions", settings.descriptions)}
        return build_bank(
            make_builder(settings),
            names,
            seed=seed,
            dimension=settings.dimension,
            remove_mean=settings.remove_mean,
            steps=steps(settings, names),
            descriptions={name: text for name, text in told.items() if name in names},
        )
    bank = CentreBank.load(Path(settings.bank))
    there = set(bank.names)
    lacking = [name for name in names if name not in there]
    if lacking:
        raise InputError(
            f"{settings.bank} has no centre for {', '.join(map(repr, lacking[:20]))}; it has"
            f" {', '.join(map(repr, bank.names[:20]))}: build a bank from the data's class names"
        )
    if settings.dimension not in (None, bank.dimension):
        raise InputError(
            f"{settings.bank} has {bank.dimension} dimensions, centres.dimension asks for"
            f" {settings.dimension}; leave it out, or build the bank anew"
        )
    return bank.select(names)


def _with_tree(settings: CentresSettings, tree: Parents | None) -> CentresSettings:
    if settings.builder is None or settings.builder.get("tree") != "data":
        return settings
    if tree is None:
        raise InputError(
            "centres.builder.tree=data, but the data has no hierarchy; give a tree file, or null"
            " for WordNet"
        )
    return replace(settings, builder={**settings.builder, "tree": dict(tree)})


def steps(settings: CentresSettings, names: Sequence[str]) -> list[Step]:
    """Return the steps of conditioning beside mean and dimension."""
    planned: list[Step] = []
    if settings.remove_directions:
        planned.append(RemoveDirections(settings.remove_directions))
    if settings.whiten is not None:
        planned.append(Whiten(settings.whiten))
    if settings.own_axis is not None:
        planned.append(OwnAxes(settings.own_axis))
    if settings.assign_to is not None:
        means = Prototypes(embeddings=settings.assign_to).build(names, seed=0)
        planned.append(Assign(means.vectors))
    return planned


def changed(bank: CentreBank, config: CentresConfig) -> CentreBank:
    """Return the bank after what the words ask: retire, then rename, then add."""
    if config.retire:
        bank = retire(bank, config.retire)
    if config.rename is not None:
        bank = rename(bank, text_map("rename", config.rename))
    if config.add:
        _check_texts(config.add)
        builder = make_builder(config.centres) if config.use_builder else None
        told = text_map("centres.descriptions", config.centres.descriptions)
        bank = add(bank, config.add, descriptions=told, builder=builder)
    return bank


def _audit(config: CentresConfig, names: ClassNames, tree: Parents | None) -> Audit:
    if config.centres.bank is not None:
        raise UsageError("a finished bank is not audited; give the builder that is to make one")
    found = audit_names(
        config.centres, names, tree=tree, threshold=config.threshold, seed=config.seed
    )
    if config.audit_out is not None:
        write_json(config.audit_out, found.to_json())
    return found


def audit_names(
    settings: CentresSettings,
    names: ClassNames,
    *,
    tree: Parents | None,
    threshold: float,
    seed: int,
) -> Audit:
    """Return what may be wrong with names under the settings' builder; arguments as `audit`'s."""
    settings = _with_tree(settings, tree)
    told = {**names.descriptions, **text_map("centres.descriptions", settings.descriptions)}
    return audit(
        replace(names, descriptions=told),
        make_builder(settings),
        threshold=threshold,
        seed=seed,
        dimension=settings.dimension,
        remove_mean=settings.remove_mean,
        # Axes of their own hide that two names mean the same.
        steps=[step for step in steps(settings, names.names) if not isinstance(step, OwnAxes)],
    )
