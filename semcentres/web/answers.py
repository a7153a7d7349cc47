"""What the JSON API answers; the OpenAPI description is made from it."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Cosine = Annotated[float, Field(description="In [-1, 1] up to rounding.", examples=[0.83])]
Name = Annotated[str, Field(examples=["zebra"])]


class Candidate(BaseModel):
    """A class, and how near its centre is to an image."""

    name: Name
    cosine: Cosine


class Judged(BaseModel):
    """The nearest classes of an image, and its class before classes were added if it moved."""

    predicted: Candidate
    runner_up: Candidate | None
    was: str | None = Field(default=None, examples=["horse"])
    label: str | None = Field(default=None, description="Its known class.", examples=["zebra"])


class Item(Judged):
    """An image of the collection."""

    id: int = Field(examples=[12])
    thumbnail: str = Field(examples=["/api/items/12/thumbnail?of=1f0c9a7b"])


class Hit(Item):
    """An image that was found; `cosine` is to the query, null where there is none."""

    cosine: Cosine | None


class ClassInfo(BaseModel):
    """A class: the number of images that are nearest to its centre."""

    name: Name
    added: bool = Field(description="In this session, and gone when the server stops.")
    num_images: int = Field(examples=[37])


class Query(BaseModel):
    """What was asked."""

    kind: Literal["browse", "text", "class", "members", "item", "upload"]
    value: str = Field(examples=["striped animal"])
    thumbnail: str | None = None
    subject: Judged | None = Field(default=None, description="The image asked for.")
    class_info: ClassInfo | None = Field(default=None, serialization_alias="class")


class Answer(BaseModel):
    """Images, nearest first; `total` is how many could be asked for."""

    query: Query
    total: int = Field(examples=[1686])
    hits: list[Hit]


class About(BaseModel):
    """The model, the collection and the classes, the session's own among them."""

    data: str = Field(description="What the model was trained on.", examples=["emoji"])
    num_images: int = Field(examples=[1686])
    dimension: int = Field(examples=[64])
    classes: list[ClassInfo]


class Sent(BaseModel):
    """An image that was read, to be searched by `upload=id`; it is kept in memory alone."""

    id: str = Field(examples=["9b74c9897bac770f"])


class NewClass(BaseModel):
    """A class to add by its name; `description` is read in its place by text builders."""

    name: Annotated[str, Field(min_length=1, max_length=200, examples=["zebra"])]
    description: Annotated[str | None, Field(max_length=1000)] = None


class Dot(BaseModel):
    """An image on the map; places are in [0, 1]."""

    id: int
    x: float
    y: float
    class_row: int = Field(serialization_alias="class", description="Row of `centres`.")
    thumbnail: str


class Centre(BaseModel):
    """A class's centre on the map."""

    name: Name
    x: float
    y: float
    num_images: int


class Map(BaseModel):
    """The embeddings and the centres in the plane."""

    total: int = Field(description="Images of the collection; points may be fewer.")
    points: list[Dot]
    centres: list[Centre]


class Problem(BaseModel):
    """What was wrong, and what to do."""

    error: str = Field(examples=["there is no image 1700; they go from 0 to 1685"])
