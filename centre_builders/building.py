"""From a builder and names to a bank: build, condition, check, and say how it was done."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from centre_builders.bank import CentreBank
from centre_builders.conditioning import Step, condition
from centre_builders.errors import InputError, UsageError
from centre_builders.protocol import CentreBuilder, RawCentres
from centre_builders.steps import Assign, ChangeDimension, RemoveMean
from centre_builders.stored import describe_builder
from centre_builders.vocabulary import check_names

LIBRARIES = ("semcentres", "numpy", "gensim", "sentence-transformers")


def build_bank(
    builder: CentreBuilder,
    names: Sequence[str],
    *,
    seed: int = 0,
    dimension: int | None = None,
    remove_mean: bool | None = None,
    steps: Sequence[Step] = (),
    descriptions: Mapping[str, str] | None = None,
) -> CentreBank:
    """Return the bank of the names: build, remove the mean, further steps, change the dimension.

    Args:
        builder: names to raw vectors.
        names: class names, each once.
        seed: of the builder's draws.
        dimension: width of the centres; None keeps the builder's.
        remove_mean: None removes it where the builder's vectors share one (text).
        steps: further conditioning, between the mean and the dimension, but `Assign` after it.
        descriptions: for some names, a text that text builders read in place of the name.

    Raises:
        InputError: the names, the builder or a step do not fit; the message says which.
    """
    names = check_names(names)
    check_descriptions(descriptions or {}, names)
    raw = builder.build(names, seed=seed, descriptions=descriptions)
    planned = plan(raw, len(names), dimension=dimension, remove_mean=remove_mean, steps=steps)
    vectors, fitted = condition(raw.vectors, names, planned)
    provenance: dict[str, Any] = {
        "builder": describe_builder(builder),
        "source": dict(raw.source),
        "texts": {n: text for n, text in zip(names, raw.texts, strict=True) if n != text},
        "independent": raw.independent,
        "seed": seed,
        "versions": {name: v for name in LIBRARIES if (v := _version(name))},
    }
    return CentreBank(names, vectors.astype(np.float32, copy=False), provenance, fitted)


def plan(
    raw: RawCentres,
    num: int,
    *,
    dimension: int | None,
    remove_mean: bool | None,
    steps: Sequence[Step],
) -> list[Step]:
    """Return the steps from the raw vectors of `num` names to the centres.

    Raises:
        InputError: the dimension is too small for what the vectors mean.
    """
    remove = raw.shares_mean if remove_mean is None else remove_mean
    planned: list[Step] = [RemoveMean()] if remove else []
    planned += [step for step in steps if not isinstance(step, Assign)]
    if dimension is not None and dimension != raw.vectors.shape[1]:
        # Without their mean, K independent vectors span one dimension less.
        least = raw.min_dimension and raw.min_dimension - remove
        _check_dimension(dimension, least, num)
        planned.append(ChangeDimension(dimension))
    # Its references have the centres' dimension.
    return planned + [step for step in steps if isinstance(step, Assign)]


def check_descriptions(descriptions: Mapping[str, str], names: Sequence[str]) -> None:
    """Refuse descriptions of what is no class."""
    stray = sorted(set(descriptions) - set(names))
    if stray:
        raise InputError(f"there is a description of {stray[0]!r}, which is not a class name")


def _check_dimension(dimension: int, least: int | None, num: int) -> None:
    if dimension < 1:
        raise UsageError(f"dimension must be at least 1, got {dimension}; set centres.dimension")
    if least is not None and dimension < least:
        raise UsageError(
            f"these centres of {num} classes need {least} dimensions, got {dimension};"
            f" set centres.dimension={least} or more, or take centres=random_orthogonal"
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
