"""What a user loads: an encoder with the centres that it was trained toward.

Dimensions: N images, C channels, H by W pixels, D embedding width, K classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from centre_builders.artefact import MANIFEST, write_folder
from centre_builders.bank import CentreBank
from centre_builders.changes import add
from centre_builders.errors import InputError, refused_unless
from centre_builders.sealed import load_sealed
from semcentres.components import build
from semcentres.embedding import embed
from semcentres.encoder import Encoder
from semcentres.hub import locate
from semcentres.multi_view import Average, score_views
from semcentres.prediction import UNCALIBRATED, Calibration, Predictions
from semcentres.queries import Picture, Pictures, as_tensor, query_vectors
from semcentres.randomness import generator
from semcentres.views import RandomView
from semcentres.weights import (
    CENTRES,
    WEIGHTS,
    encoder_fingerprint,
    restore_encoder,
    write_weights,
)

if TYPE_CHECKING:
    from semcentres.collection import Collection, Hits

BLOCK = 1024  # images that are scored at a time
MOST_SIDE = 1 << 14  # pixels


@dataclass(frozen=True)
class Model:
    """An encoder and its centres.

    Args:
        encoder: images to unit embeddings.
        bank: class names and their centres.
        about: what is stored beside the weights: how to build the encoder, the bank's
            fingerprint, the data's name, the images' size, a view, the calibration.
        fingerprint: SHA-256 of the encoder: its weights and what it is built of. Changes of the
            bank do not change it, and embeddings stay valid.
        folder: where it was loaded from; None where it was not.
    """

    encoder: Encoder
    bank: CentreBank
    about: Mapping[str, Any]
    fingerprint: str
    folder: Path | None = None

    @classmethod
    def load(cls, folder: str | Path, *, mapped: bool = False) -> "Model":
        """Return the model that a run folder holds, or `org/name` on the hub (see `hub.locate`).

        Args:
            folder: its place.
            mapped: whether the centres stay in their file (see `CentreBank.load`).

        Raises:
            InputError: a file is missing or damaged, or the two files do not belong together.
        """
        place = locate(folder)
        if not (place / WEIGHTS).is_file():
            raise InputError(f"{place} holds no {WEIGHTS}; train into it, or name a run folder")
        tensors, metadata, _ = load_sealed(place / WEIGHTS)
        with refused_unless(place / WEIGHTS, "a model of semcentres"):
            about = json.loads(metadata["about"])
            wanted = str(about["bank"])
        bank = CentreBank.load(place / CENTRES, mapped=mapped)
        if bank.fingerprint != wanted:
            raise InputError(
                f"{place / CENTRES} is bank {bank.fingerprint[:12]} of {len(bank.names)} classes,"
                f" {WEIGHTS} was trained with {wanted[:12]}; put the run's own back"
            )
        with refused_unless(place / WEIGHTS, "a model of semcentres"):
            sides = about.get("size") or []
            if not all(isinstance(side, int) and 0 < side <= MOST_SIDE for side in sides):
                raise ValueError(f"its images have the size {sides}")
            encoder = restore_encoder(about, tensors, bank)
            fingerprint = encoder_fingerprint(about["encoder"], tensors)
            model = cls(encoder.eval(), bank, about, fingerprint, place)
            _ = model.calibration  # read now, and refused now
            return model

    def to(self, device: torch.device) -> "Model":
        """Return the model with its encoder on a device, to which images follow."""
        return replace(self, encoder=self.encoder.to(device))

    @cached_property
    def calibration(self) -> Calibration:
        """What confidences and verdicts rest on; of older models, nothing."""
        known = self.about.get("calibration")
        return UNCALIBRATED if known is None else Calibration(**known)

    def embed(self, images: Pictures, rows: Tensor | None = None) -> np.ndarray:
        """Return unit embeddings [N D] of images, or of some rows of them.

        Args:
            images: uint8 [N C H W], or floats [N F] for plain vectors; or files or PIL images, one
                or a list, which are read as in training.
            rows: which; None takes all.

        Raises:
            InputError: the images are of another kind than those that the model was trained on,
                or a file is no readable image.
        """
        images = as_tensor(images, self.about)
        self.check_kind(images)
        return embed(self.encoder, images, rows=rows)

    def check_kind(self, images: Tensor) -> None:
        """Refuse images of another kind than those that the model was trained on.

        Raises:
            InputError: they are.
        """
        channels, vectors = self.about["channels"], not self.about.get("size")
        # Floats would be taken as they are, and nobody would see that they are 0 to 255.
        fit = images.dtype == torch.uint8 and images.ndim == 4 or vectors and images.ndim == 2
        if not fit or images.shape[1] != channels:
            raise InputError(
                f"the images are {images.dtype} {tuple(images.shape)}; wanted uint8"
                f" [N {channels} H W], or files or PIL images"
            )

    def predict(
        self, images: Pictures, *, views: int = 1, average: str = Average.EMBEDDING
    ) -> Predictions:
        """Return each image's class, confidence, runner-up and verdict; see `multi_view`.

        Args:
            images: as of `embed`.
            views: that are averaged, from 1: the plain image, then moved as in training, all
                images alike. An image whose class is certain before has fewer.
            average: what is averaged: embedding, distance or probability. Temperature and
                threshold were fitted to plain images.

        Raises:
            UsageError: `views` or `average` is out of range.
            InputError: as of `embed`; more views are asked of a model that was stored without one.
        """
        images = as_tensor(images, self.about)
        centres = torch.from_numpy(self.bank.vectors)
        scores = [
            score_views(
                partial(self.embed_view, block),
                len(block),
                centres,
                temperature=self.calibration.temperature,
                views=views,
                average=average,
            )
            for block in images.split(BLOCK)
        ]
        return Predictions.of(scores, self.bank.names, self.calibration)

    def embed_view(self, images: Tensor, number: int, rows: Tensor) -> Tensor:
        """Return the embeddings of some images in view `number`, 0 being the plain image."""

        def moved(batch: Tensor, _: int) -> Tensor:
            return self.moved(batch, number)

        if number == 0:
            found = self.embed(images, rows)
        else:
            found = embed(self.encoder, images, rows=rows, view=moved)
        if not np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3):  # nor where it is nan
            raise InputError(
                f"{self.folder or 'this model'} has embeddings that are zero or not finite for"
                " these images; train again, or name another model"
            )
        return torch.from_numpy(found)

    def moved(self, images: Tensor, number: int) -> Tensor:
        """Return images as the encoder takes them in view `number`, which moves all alike.

        Args:
            images: uint8 [N C H W], or the same as floats in [0, 255], which gradients pass.
            number: of the view, from 1.

        Raises:
            InputError: the model was stored without a view.
        """
        view = None if self.about.get("view") is None else build(self.about["view"], "views")
        if not isinstance(view, RandomView):
            raise InputError(
                f"this model knows no view that moves images, only the plain one; leave views at 1"
                f" (it holds {self.about.get('view')})"
            )
        return view.alike(images, generator("inference", number, device=images.device))

    def add_classes(
        self, names: Sequence[str], *, descriptions: Mapping[str, str] | None = None
    ) -> "Model":
        """Return the model with further classes, whose centres come from their names.

        Nothing is trained and no old centre moves. The calibration stays that of the old classes:
        of their images no more are rejected than before, as a further centre only lowers the
        energy; what the threshold does to images of the new ones, nobody has measured.

        Args:
            names: new ones, each once.
            descriptions: for some of them, a text that text builders read in place of the name.

        Raises:
            InputError: a name is there already, or the bank's builder cannot place it.
        """
        return replace(self, bank=add(self.bank, names, descriptions=descriptions))

    def with_bank(self, bank: CentreBank) -> "Model":
        """Return the model with other centres of the same width; it has no calibration."""
        if bank.fingerprint == self.bank.fingerprint:
            return self
        return replace(self, bank=bank, about={**self.about, "calibration": None})

    def save(self, folder: str | Path) -> None:
        """Write encoder, centres and calibration to a folder for `Model.load`, whole or not at all.

        Raises:
            InputError: the folder holds other things than a saved model.
        """
        place, own = Path(folder), {WEIGHTS, CENTRES, MANIFEST}
        strange = sorted({path.name for path in place.glob("*")} - own)
        if strange:
            raise InputError(
                f"{place} holds {strange[0]}, which saving a model would remove; name a new folder"
            )
        about = {**self.about, "bank": self.bank.fingerprint}
        with write_folder(place, about={"model": self.fingerprint}) as temporary:
            write_weights(temporary, self.encoder, about)
            self.bank.save(temporary / CENTRES)

    @cached_property
    def collection(self) -> "Collection":
        """The run's own training images of known class, as its `index/` holds them."""
        from semcentres.collection import Collection

        if self.folder is None:
            raise InputError("the model has no run folder to search; give among=Collection")
        return Collection.load(self.folder / "index")

    def search(
        self,
        query: str | Picture | Tensor | np.ndarray,
        k: int = 12,
        among: "Collection | None" = None,
    ) -> "Hits":
        """Return the k images nearest to a query.

        Args:
            query: a class name or free text (see `centre_builders.free_text.text_vector`), the
                `Path` of an image file, a PIL image, or uint8 images [C H W] or [Q C H W].
            k: from 1.
            among: what is searched; None takes the run's own training images.

        Raises:
            InputError: the query cannot be placed, or another model has embedded the images.
        """
        searched = self.collection if among is None else among
        searched.check_model(self.fingerprint)
        vectors = query_vectors(query, bank=self.bank, embed=self.embed, about=self.about)
        return searched.search(vectors, k)
