"""What one server process knows: a model, a collection, images that were sent, classes added.

Dimensions: D embedding width, k images of an answer.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from secrets import token_hex
from threading import Lock
from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from centre_builders.errors import InputError
from centre_builders.free_text import text_vector
from centre_builders.text_cache import nothing_cached
from semcentres.collection import Collection
from semcentres.data.stored import decode
from semcentres.model import Model
from semcentres.pictures import Picture
from semcentres.queries import image_shape
from semcentres.web.answers import About, Answer, Centre, ClassInfo, Dot, Hit, Item, Map, Query
from semcentres.web.atlas import Layout, lay_out, place
from semcentres.web.classes import Classes
from semcentres.web.uploads import SIDE, as_file, webp

log = logging.getLogger(__name__)

MOST_UPLOADS = 256
MOST_KEPT = 4096  # pictures, and texts, of some kilobytes each
Vector = Float[np.ndarray, " D"]


class Unknown(InputError):
    """What was asked for is not here."""


@dataclass(frozen=True)
class Opened:
    """An image that was sent, as it was read: token, pixels for the model, and picture."""

    token: str
    image: Tensor
    picture: bytes


@dataclass(frozen=True)
class Upload:
    """An image that was sent: its unit embedding and its picture."""

    vector: Vector
    picture: bytes


@final
class Session:
    """Searches, and changes that last as long as this object.

    Only `picture`, `layout` and `read` may be asked by several threads.

    Args:
        model: embeds queries; its bank gives the classes. Its files stay as they are.
        collection: what is searched.
        picture: of a row of the collection's images.
    """

    def __init__(self, model: Model, collection: Collection, picture: Picture) -> None:
        self.model, self.collection = model, collection
        self._picture = lru_cache(MOST_KEPT)(lambda row: webp(picture(row).numpy()))
        self._text_vector = lru_cache(MOST_KEPT)(self._read_text)
        self._index = collection.index
        self.classes = Classes(self._index, model.bank)
        self._uploads: OrderedDict[str, Upload] = OrderedDict()
        self._layout: Layout | None = None
        self._laying_out = Lock()
        # Addresses of pictures end with it: a browser may keep what they give for ever.
        self._of = token_hex(4)

    def about(self) -> About:
        """Return what is served."""
        infos = [self.classes.info(row) for row in range(len(self.classes.bank.names))]
        return About(
            data=self.model.about["data"],
            num_images=len(self.collection),
            dimension=self.model.bank.dimension,
            classes=infos,
        )

    def browse(self, k: int) -> Answer:
        """Return k images, evenly spread over the collection."""
        most = len(self.collection)
        rows = np.linspace(0, most - 1, min(k, most)).round().astype(int).tolist()
        hits = [self._hit(row, None) for row in rows]
        return Answer(query=Query(kind="browse", value=""), total=most, hits=hits)

    def by_text(self, text: str, k: int) -> Answer:
        """Return the images nearest to a text.

        Raises:
            InputError: the bank's builder does not read texts, and no class has this name.
        """
        names, centres = self.classes.bank.names, self.classes.bank.vectors
        vector = centres[names.index(text)] if text in names else self._text_vector(text)
        return self._near(Query(kind="text", value=text), vector, k)

    def by_class(self, name: str, k: int) -> Answer:
        """Return the images nearest to a class's centre.

        Raises:
            InputError: there is no such class.
        """
        row = self.classes.row(name)
        query = Query(kind="class", value=name, class_info=self.classes.info(row))
        return self._near(query, self.classes.bank.vectors[row], k)

    def members(self, name: str, k: int) -> Answer:
        """Return the images of a class, the nearest first; an added one's all moved there.

        Raises:
            InputError: there is no such class.
        """
        row = self.classes.row(name)
        rows, cosines = self.classes.members(row)
        query = Query(kind="members", value=name, class_info=self.classes.info(row))
        found = zip(rows[:k].tolist(), cosines[:k].tolist(), strict=True)
        return Answer(query=query, total=len(rows), hits=[self._hit(*pair) for pair in found])

    def by_item(self, row: int, k: int) -> Answer:
        """Return the neighbours of an image, without itself.

        Raises:
            Unknown: there is no such image.
        """
        item = self.item(row)
        query = Query(kind="item", value=str(row), thumbnail=item.thumbnail, subject=item)
        return self._near(query, self._index.rows(np.array([row]))[0], k, without=row)

    def by_upload(self, token: str, k: int) -> Answer:
        """Return the images nearest to one that was sent.

        Raises:
            Unknown: it is not kept any more.
        """
        vector = self.upload(token).vector
        judged, address = self.classes.judge_vector(vector), f"/api/uploads/{token}/thumbnail"
        query = Query(kind="upload", value=token, thumbnail=address, subject=judged)
        return self._near(query, vector, k)

    def item(self, row: int) -> Item:
        """Return an image of the collection.

        Raises:
            Unknown: there is no such image.
        """
        self._check(row)
        judged = self.classes.judge(row)
        known = judged.model_dump() | {"label": self.collection.label(row)}
        return Item(**known, id=row, thumbnail=self._address(row))

    def picture(self, row: int) -> bytes:
        """Return an image's picture as WebP.

        Raises:
            Unknown: there is no such image, or its file cannot be read any more.
        """
        self._check(row)
        try:
            return self._picture(row)
        except InputError as error:
            # The message names a path, which is the server's own business.
            log.warning("%s", error)
            raise Unknown(f"the file of image {row} cannot be read any more") from error

    def read(self, data: bytes) -> Opened:
        """Read an image file; any thread may.

        Raises:
            InputError: it is not an image of a known format, or is damaged or too large.
        """
        token = sha256(data).hexdigest()[:16]
        with as_file(data) as path:
            image = decode(path, **image_shape(self.model.about))
            return Opened(token, image, webp(decode(path, SIDE).numpy()))

    def keep(self, sent: Opened) -> str:
        """Keep the embedding of an image that was read, and return the token to ask for it by."""
        self._uploads[sent.token] = Upload(self.model.embed(sent.image[None])[0], sent.picture)
        self._uploads.move_to_end(sent.token)
        if len(self._uploads) > MOST_UPLOADS:
            self._uploads.popitem(last=False)
        return sent.token

    def upload(self, token: str) -> Upload:
        """Return what was sent.

        Raises:
            Unknown: it is not kept any more.
        """
        if token not in self._uploads:
            raise Unknown("this image is not kept any more; drop it again")
        return self._uploads[token]

    def add(self, name: str, description: str | None) -> ClassInfo:
        """Add a class, and say how many images moved to it.

        Raises:
            InputError: the class is there, or the bank's builder cannot place it.
        """
        self.classes.add(name, description)
        return self.classes.info(self.classes.row(name))

    def layout(self) -> Layout:
        """Return the places of images and trained centres; some seconds at the first time."""
        with self._laying_out:
            if self._layout is None:
                self._layout = lay_out(self._index, self.model.bank.vectors)
            return self._layout

    def map(self, layout: Layout) -> Map:
        """Return the map, with the classes as they are now."""
        bank, nearest = self.classes.bank, self.classes.nearest()
        new = bank.vectors[len(layout.centres) :]
        places = [*layout.centres, *place(new, self._index.rows(layout.rows), layout)]
        infos = (self.classes.info(row) for row in range(len(bank.names)))
        return Map(
            total=len(self.collection),
            points=[
                Dot(id=row, x=x, y=y, class_row=int(nearest[row]), thumbnail=self._address(row))
                for row, (x, y) in zip(layout.rows.tolist(), layout.images.tolist(), strict=True)
            ],
            centres=[
                Centre(name=info.name, num_images=info.num_images, x=float(x), y=float(y))
                for info, (x, y) in zip(infos, places, strict=True)
            ],
        )

    def _read_text(self, text: str) -> Vector:
        # What is looked for is nobody's business: it stays out of the cache on disk.
        with nothing_cached():
            return text_vector(self.model.bank, text)

    def _near(self, query: Query, vector: Vector, k: int, without: int | None = None) -> Answer:
        found = self.collection.search(vector[None], k if without is None else k + 1)
        pairs = zip(found.rows[0].tolist(), found.cosines[0].tolist(), strict=True)
        hits = [self._hit(row, cosine) for row, cosine in pairs if row != without][:k]
        total = len(self.collection) - (without is not None)
        return Answer(query=query, total=total, hits=hits)

    def _hit(self, row: int, cosine: float | None) -> Hit:
        return Hit(**self.item(row).model_dump(), cosine=cosine)

    def _address(self, row: int) -> str:
        return f"/api/items/{row}/thumbnail?of={self._of}"

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self.collection):
            raise Unknown(f"there is no image {row}; they go from 0 to {len(self.collection) - 1}")
