"""The application: a static page and a JSON API, every fault told in one line."""

from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from centre_builders.errors import InputError
from semcentres.web.answers import Problem
from semcentres.web.guard import Guard
from semcentres.web.routes import Threads, class_routes, picture_routes, search_routes
from semcentres.web.session import Session, Unknown

MAX_BYTES = 8 << 20  # of an upload
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
MEANINGS = {400: "bad request", 404: "not here", 413: "too large", 422: "not of this form"}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": meaning} for code, meaning in MEANINGS.items()
}


def make_app(session: Session, *, host: str) -> FastAPI:
    """Return the application.

    Args:
        session: only this application may use it.
        host: name or number that the server listens at.
    """
    app = FastAPI(
        title="semcentres",
        description="Search a collection of images by text, class or image.",
        # The usual pages of documentation load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        max_body_size=MAX_BYTES,
        responses=PROBLEMS,
    )
    app.add_middleware(Guard, host=host)
    work = Threads(1, "model")
    for routes in (class_routes, search_routes, picture_routes):
        app.include_router(routes(session, work))
    _static(app)
    _tell_problems(app)
    return app


def _static(app: FastAPI) -> None:
    """Serve the page's files from memory: no path of a request ever meets the disk."""
    folder = files("semcentres.web") / "static"
    page = {file.name: file.read_bytes() for file in folder.iterdir()}

    @app.get("/", include_in_schema=False)
    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str = "index.html") -> Response:
        if name not in page:
            raise HTTPException(404, "no such file")
        kind = TYPES[name.rpartition(".")[2]]
        return Response(page[name], media_type=kind, headers={"Cache-Control": "no-cache"})


def _tell_problems(app: FastAPI) -> None:
    """Answer every fault as {"error": one line}."""

    def problem(text: str, code: int) -> JSONResponse:
        return JSONResponse({"error": " ".join(text.split())}, code)

    @app.exception_handler(InputError)
    async def mistake(_: Request, error: InputError) -> JSONResponse:
        return problem(str(error), 404 if isinstance(error, Unknown) else 400)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = (f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return problem("; ".join(faults), 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return problem(str(error.detail), error.status_code)

    # uvicorn writes the traceback to its log.
    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        return problem("the server failed at this; its log says more", 500)
