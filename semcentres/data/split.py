"""Which training images are labelled, which are used without label, which are kept for tuning."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from centre_builders.errors import InputError
from semcentres.data.files import FileSource
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
    source: Source | FileSource, *, labels_per_class: int | None, validation: int = 0, seed: int = 0
) -> Split:
    """Return a split with equally many labelled images of each class, drawn by `seed`.

    Args:
        source: the data; the images that it holds out to tune on itself stay so.
        labels_per_class: labelled images a class; None takes every label there is.
        validation: images to keep out of training; 0 where the data holds some out itself.
        seed: of the draw.

    Raises:
        InputError: a class has fewer labelled images than asked, or too few images are left.
    """
    labels, own = source.labels, source.num_validation
    num = len(labels) - own
    if own and validation:
        raise InputError(
            f"data.validation={validation}, but the data has {own} validation images of its own;"
            " leave it 0"
        )
    order = torch.randperm(num, generator=generator(seed, "split"))
    if not 0 <= validation < num:
        raise InputError(
            f"data.validation={validation} of {num} training images leaves none to train on"
        )
    held, rest = order[:validation], order[validation:]
    held = torch.cat([held, torch.arange(num, len(labels))])
    # Sorted once, for a look at all labels for each of thousands of classes takes minutes.
    known = rest[labels[rest] >= 0]
    counts = labels[known].bincount(minlength=len(source.class_names)).tolist()
    by_class = known[labels[known].argsort(stable=True)].split(counts)
    rows = [found[:labels_per_class] for found in by_class]
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
