"""What a user loads: an encoder with the centres that it was trained toward.

Dimensions: N images, C channels, H by W pixels, D embedding width, K classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from centre_builders.bank import CentreBank
from centre_builders.errors import InputError
from centre_builders.sealed import load_sealed, save_sealed
from semcentres.components import build
from semcentres.embedding import embed
from semcentres.encoder import Encoder

if TYPE_CHECKING:
    from semcentres.collection import Collection, Hits

WEIGHTS = "model.safetensors"
CENTRES = "centres.safetensors"


@dataclass(frozen=True)
class Model:
    """An encoder and its centres.

    Args:
        encoder: images to unit embeddings.
        bank: class names and their centres.
        about: what is stored beside the weights: how to build the encoder, the bank's
            fingerprint, the data's name.
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
        return cls(encoder.eval(), bank, about, _fingerprint(about["encoder"], tensors), place)

    def embed(self, images: Tensor) -> np.ndarray:
        """Return unit embeddings [N D] of uint8 images [N C H W]."""
        return embed(self.encoder, images)

    def predict(self, images: Tensor) -> list[str]:
        """Return the name of the class whose centre is nearest to each image."""
        from semcentres.index import nearest_centres

        rows = nearest_centres(self.embed(images), self.bank.vectors).ids[:, 0]
        return [self.bank.names[row] for row in rows]

    @cached_property
    def collection(self) -> "Collection":
        """The run's own training images of known class, as its `index/` holds them."""
        from semcentres.collection import Collection

        if self.folder is None:
            raise InputError("the model has no run folder to search; give among=Collection")
        return Collection.load(self.folder / "index")

    def search(
        self, query: "str | Path | Tensor", k: int = 12, among: "Collection | None" = None
    ) -> "Hits":
        """Return the k images nearest to a query.

        Args:
            query: a class name or free text (see `centre_builders.free_text.text_vector`), the
                path of an image file, or uint8 images [C H W] or [Q C H W].
            k: from 1.
            among: what is searched; None takes the run's own training images.

        Raises:
            InputError: the query cannot be placed, or another model has embedded the images.
        """
        from semcentres.queries import query_vectors

        searched = self.collection if among is None else among
        searched.check_model(self.fingerprint)
        vectors = query_vectors(query, bank=self.bank, embed=self.embed, about=self.about)
        return searched.search(vectors, k)


def _fingerprint(component: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    digest = sha256(json.dumps(component, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


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
) -> None:
    """Write weights for inference, with what `Model.load` needs; the bank is written by itself.

    `images` are some that it was trained on, which tell their shape.
    """
    tensors = {k: v.detach().cpu().contiguous().numpy() for k, v in encoder.state_dict().items()}
    about = {
        "encoder": dict(component),
        "channels": images.shape[1],
        "size": list(images.shape[2:]),
        "bank": bank.fingerprint,
        "data": data,
    }
    save_sealed(folder / WEIGHTS, tensors, {"about": json.dumps(about, sort_keys=True)})
