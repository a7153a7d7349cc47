"""The images that a model is assessed by, as its encoder sees them; all ranks embed, one is told.

Dimensions: N images, G of them in the gallery, D embedding width, F features.
"""

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch import Tensor

from semcentres.data.source import ImageSet, Source
from semcentres.data.split import Split
from semcentres.embedding import embed_together
from semcentres.encoder import Encoder, WithFeatures, first_of_head
from semcentres.model import Model
from semcentres.ranks import ALONE, Ranks
from semcentres.recipe import labelled_images, select

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Embedded:
    """Images as an encoder sees them.

    Args:
        embeddings: unit rows, float32 [N D].
        features: what the head of the encoder is given, float32 [N F]; F is 0 where it has none.
        labels: row of each image's class.
    """

    embeddings: np.ndarray
    features: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, encoder: Encoder, images: ImageSet, width: int, ranks: Ranks = ALONE) -> "Embedded":
        """Return the images' embeddings of `width` columns, and their features, in one pass.

        All of `ranks` must call it; only the first gets rows.
        """
        whole = encoder if first_of_head(encoder) is None else WithFeatures(encoder)
        both = embed_together(whole, images.images, ranks, everywhere=False)
        embeddings, features = (
            np.ascontiguousarray(part) for part in np.split(both, [width], axis=1)
        )
        return cls(embeddings, features, images.labels.numpy())


@dataclass(frozen=True)
class Seen:
    """What an assessment begins with.

    Args:
        held: the images that the results are about.
        asked: the same, embedded.
        taught: of the images that training knew the labels of, as many as classifiers are made of.
        rows: of the gallery: the training images with a known label that are not held out.
        gallery: these, embedded, float32 [G D].
    """

    held: ImageSet
    asked: Embedded
    taught: Embedded
    rows: Int[Tensor, " G"]
    gallery: np.ndarray


def see(model: Model, source: Source, split: Split, asked: str, ranks: Ranks = ALONE) -> Seen:
    """Embed what a model is assessed by; all of `ranks` must call it, and the first gets the rows.

    Args:
        model: whose encoder is on the device that is to do it.
        source: the data.
        split: of the run.
        asked: which images the results are about: "test" or "validation".
        ranks: who embeds.

    Raises:
        InputError: the images are of another kind than those that the model was trained on.
    """
    model.check_kind(source.train.images)
    held, _ = select(source, split, asked)
    log.info("embedding %s images", f"{len(held) + len(source.train):,}")
    rows = _gallery(source, split, asked)
    encoder, width = model.encoder, model.bank.dimension
    return Seen(
        held,
        Embedded.of(encoder, held, width, ranks),
        Embedded.of(encoder, labelled_images(source, split), width, ranks),
        rows,
        embed_together(encoder, source.train.images, ranks, rows=rows, everywhere=False),
    )


def _gallery(source: Source, split: Split, held: str) -> Int[Tensor, " G"]:
    kept = source.labels >= 0
    if held == "validation":
        kept[split.validation] = False
    return kept.nonzero().flatten()
