"""The JSON API over one `Session`, in three groups."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, ParamSpec, TypeVar, final

from fastapi import APIRouter, Body, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from centre_builders.errors import InputError
from semcentres.web.answers import About, Answer, ClassInfo, Item, Map, NewClass, Sent
from semcentres.web.session import Session

READERS = 4  # files that are read at a time
P = ParamSpec("P")
T = TypeVar("T")

# An address says which server gave it, so that what is behind it never changes.
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
Name = Annotated[str, Query(max_length=200, examples=["zebra"])]


@final
class Threads:
    """Does work in its own threads, in the order of asking, while the event loop goes on.

    Args:
        num: of them. In one, no two requests meet in the session, and torch keeps one team of
            threads instead of one for each of the server's.
        name: what they are called.
    """

    def __init__(self, num: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(num, thread_name_prefix=name)

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Return what the function returns."""
        call = partial(function, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._threads, call)


def search_routes(session: Session, work: Threads) -> APIRouter:
    """Return the routes that answer with images."""
    router = APIRouter(prefix="/api")

    @router.get("/search")
    async def search(
        text: Annotated[str | None, Query(max_length=200, examples=["striped animal"])] = None,
        class_name: Annotated[str | None, Query(alias="class", max_length=200)] = None,
        members: Annotated[bool, Query(description="Only images of the class.")] = False,
        item: Annotated[int | None, Query(description="Neighbours of this image.")] = None,
        upload: Annotated[str | None, Query(max_length=64)] = None,
        k: Annotated[int, Query(ge=1, le=384)] = 48,
    ) -> Answer:
        """Images by one of text, class, item or upload; without any, an even sample."""
        asked: list[Callable[[int], Answer]] = []
        if text is not None:
            asked.append(partial(session.by_text, text))
        if class_name is not None:
            by_class = session.members if members else session.by_class
            asked.append(partial(by_class, class_name))
        if item is not None:
            asked.append(partial(session.by_item, item))
        if upload is not None:
            asked.append(partial(session.by_upload, upload))
        if len(asked) > 1:
            raise InputError("search by one of text, class, item and upload at a time")
        return await work(asked[0] if asked else session.browse, k)

    @router.get("/items/{row}")
    async def item(row: int) -> Item:
        """An image's class, runner-up and label."""
        return await work(session.item, row)

    @router.get("/map")
    async def atlas() -> Map:
        """The embeddings and the centres in the plane; the first time takes some seconds."""
        layout = await run_in_threadpool(session.layout)
        return await work(session.map, layout)

    return router


def picture_routes(session: Session, work: Threads) -> APIRouter:
    """Return the routes that take and give pictures."""
    router = APIRouter(prefix="/api")
    # Beside the model's thread, and few: a large PNG takes 150 MB while it is read.
    files = Threads(READERS, "files")

    @router.get("/items/{row}/thumbnail", response_class=Response)
    async def thumbnail(row: int) -> Response:
        """A small picture of an image, as WebP."""
        made = await files(session.picture, row)
        return Response(made, media_type="image/webp", headers=FOREVER)

    @router.post("/uploads", status_code=201)
    async def send(image: Annotated[bytes, Body(media_type="application/octet-stream")]) -> Sent:
        """Read an image file, whose bytes are the body, to search by it."""
        # Decoding takes its time, whatever was sent: not from the model's thread.
        sent = await files(session.read, image)
        return Sent(id=await work(session.keep, sent))

    @router.get("/uploads/{token}/thumbnail", response_class=Response)
    async def sent(token: str) -> Response:
        """A small picture of an image that was sent, as WebP."""
        upload = await work(session.upload, token)
        return Response(upload.picture, media_type="image/webp", headers=FOREVER)

    return router


def class_routes(session: Session, work: Threads) -> APIRouter:
    """Return the routes that tell of the classes and change them."""
    router = APIRouter(prefix="/api")

    @router.get("/about")
    async def about() -> About:
        """What is served, and the classes."""
        return await work(session.about)

    @router.post("/classes", status_code=201)
    async def add(new: NewClass) -> ClassInfo:
        """Add a class by its name, until the server stops."""
        return await work(session.add, new.name, new.description)

    @router.delete("/classes", status_code=204)
    async def remove(name: Name) -> None:
        """Remove a class that was added."""
        await work(session.classes.remove, name)

    return router
