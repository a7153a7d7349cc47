"""What a user loads: an encoder with the centres that it was trained toward.

Dimensions: N images, C channels, H by W pixels, D embedding width, K classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from centre_builders.artefact import MANIFEST, write_folder
from centre_builders.bank import CentreBank
from centre_builders.changes import add
from centre_builders.errors import InputError
from centre_builders.sealed import load_sealed, save_sealed
from semcentres.components import build
from semcentres.embedding import embed
from semcentres.encoder import Encoder
from semcentres.multi_view import Average, score_views
from semcentres.prediction import UNCALIBRATED, Calibration, Predictions
from semcentres.randomness import generator
from semcentres.views import RandomView

BLOCK = 1024  # images that are scored at a time
WEIGHTS = "model.safetensors"
CENTRES = "centres.safetensors"


@dataclass(frozen=True)
class Model:
    """An encoder and its centres.

    Args:
        encoder: images to unit embeddings.
        bank: class names and their centres.
        about: what is stored beside the weights: how to build the encoder, the bank's
            fingerprint, the data's name, the images' size, a view, the calibration.
        fingerprint: SHA-256 of the weights and of what they are the weights of; added classes
            leave it as it is, since embeddings do not change.
    """

    encoder: Encoder
    bank: CentreBank
    about: Mapping[str, Any]
    fingerprint: str

    @classmethod
    def load(cls, folder: str | Path) -> "Model":
        """Return the model that a run folder holds.

        Raises:
            InputError: a file is missing or damaged, or the two files do not belong together.
        """
        place = Path(folder)
        if not (place / WEIGHTS).is_file():
            raise InputError(f"{place} holds no {WEIGHTS}; train into it, or name another run_dir")
        tensors, metadata, _ = load_sealed(place / WEIGHTS)
        about = json.loads(metadata["about"])
        bank = CentreBank.load(place / CENTRES)
        if bank.fingerprint != about["bank"]:
            raise InputError(
                f"{place / CENTRES} is not the bank that {WEIGHTS} was trained with;"
                " put the run's own back"
            )
        encoder = make_encoder(about["encoder"], channels=about["channels"], bank=bank)
        encoder.load_state_dict({name: torch.from_numpy(a) for name, a in tensors.items()})
        return cls(encoder.eval(), bank, about, _fingerprint(about["encoder"], tensors))

    @cached_property
    def calibration(self) -> Calibration:
        """What confidences and verdicts rest on; of older models, nothing."""
        known = self.about.get("calibration")
        return UNCALIBRATED if known is None else Calibration(**known)

    def embed(self, images: Tensor) -> np.ndarray:
        """Return unit embeddings [N D] of uint8 images [N C H W]."""
        return embed(self.encoder, images)

    def predict(
        self, images: Tensor, *, views: int = 1, average: str = Average.EMBEDDING
    ) -> Predictions:
        """Return each image's class, confidence, runner-up and verdict; see `multi_view`.

        Args:
            images: uint8 [N C H W], or floats [N F] for plain vectors.
            views: that are averaged, from 1: the plain image, then moved as in training, all
                images alike. An image whose class is certain before has fewer.
            average: what is averaged: embedding, distance or probability. Temperature and
                threshold were fitted to plain images.

        Raises:
            UsageError: `views` or `average` is out of range.
            InputError: more views are asked of a model that was stored without one.
        """
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
        # No copy of what is not moved.
        chosen = images if len(rows) == len(images) else images[rows]
        if number == 0:
            return torch.from_numpy(self.embed(chosen))
        view = None if self.about.get("view") is None else build(self.about["view"])
        if not isinstance(view, RandomView):
            raise InputError(
                f"this model knows no view that moves images, only the plain one; leave views at 1"
                f" (it holds {self.about.get('view')})"
            )

        def moved(batch: Tensor, _: int) -> Tensor:
            return view.alike(batch, generator("inference", number, device=batch.device))

        return torch.from_numpy(embed(self.encoder, chosen, view=moved))

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
            _write(temporary, self.encoder, about)
            self.bank.save(temporary / CENTRES)


def make_encoder(
    component: Mapping[str, Any],
    *,
    channels: int,
    bank: CentreBank,
    statistics: tuple[list[float], list[float]] | None = None,
) -> Encoder:
    """Return a fresh encoder as wide as the bank.

    Args:
        component: of the backbone.
        channels: of the images.
        bank: gives the width.
        statistics: mean and standard deviation of each channel; None where weights that hold
            them are loaded next.
    """
    backbone = build(component)(channels=channels, dimension=bank.dimension)
    mean, std = statistics or ([0.0] * channels, [1.0] * channels)
    return Encoder(backbone, mean=mean, std=std)


def save_model(
    folder: Path,
    encoder: torch.nn.Module,
    *,
    component: Mapping[str, Any],
    bank: CentreBank,
    images: Tensor,
    data: str,
    view: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
) -> None:
    """Write weights for inference, with what `Model.load` needs; the bank is written by itself.

    Args:
        folder: to write to.
        encoder: to write.
        component: that its backbone was built from.
        bank: its centres.
        images: some that it was trained on, which tell their shape.
        data: what the data is called.
        view: component of the view that multi-view inference moves images by.
        calibration: None where there is none.
    """
    about = {
        "encoder": dict(component),
        "channels": images.shape[1],
        "size": list(images.shape[2:]),
        "bank": bank.fingerprint,
        "data": data,
        "view": None if view is None else dict(view),
        "calibration": None if calibration is None else asdict(calibration),
    }
    _write(folder, encoder, about)


def _write(folder: Path, encoder: torch.nn.Module, about: Mapping[str, Any]) -> None:
    tensors = {k: v.detach().cpu().contiguous().numpy() for k, v in encoder.state_dict().items()}
    save_sealed(folder / WEIGHTS, tensors, {"about": json.dumps(about, sort_keys=True)})


def _fingerprint(component: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = sha256(json.dumps(component, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
