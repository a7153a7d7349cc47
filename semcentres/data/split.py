"""Which training images are labelled, which are used without label, which are kept for tuning."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.data.source import Source
from semcentres.randomness import generator


@dataclass(frozen=True)
class Split:
    """Rows of the training images; the three sets share none.

    Args:
        labelled: rows whose label the objective sees.
        unlabelled: rows used without label.
        validation: rows kept out of training, to tune on.
    """

    labelled: Int[Tensor, " L"]
    unlabelled: Int[Tensor, " U"]
    validation: Int[Tensor, " V"]


def split_labels(
    source: Source, *, labels_per_class: int | None, validation: int = 0, seed: int = 0
) -> Split:
    """Return a split with equally many labelled images of each class, drawn by `seed`.

    Args:
        source: the data.
        labels_per_class: labelled images a class; None takes every label there is.
        validation: images to keep out of training.
        seed: of the draw.

    Raises:
        InputError: a class has fewer labelled images than asked, or too few images are left.
    """
    labels = source.train.labels
    order = torch.randperm(len(labels), generator=generator(seed, "split"))
    if not 0 <= validation < len(labels):
        raise InputError(
            f"data.validation={validation} of {len(labels)} training images leaves none to train on"
        )
    held, rest = order[:validation], order[validation:]
    rows = [rest[labels[rest] == k][:labels_per_class] for k in range(len(source.class_names))]
    wanted = labels_per_class or 1
    for name, found in zip(source.class_names, rows, strict=True):
        if len(found) < wanted:
            raise InputError(
                f"class {name!r} has {len(found)} labelled training images, {wanted} are needed;"
                " add images, remove the class, or lower data.labels_per_class"
            )
    labelled = torch.cat(rows)
    is_labelled = torch.zeros(len(labels), dtype=torch.bool)
    is_labelled[labelled] = True
    return Split(labelled, rest[~is_labelled[rest]], held)
