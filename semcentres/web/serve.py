"""`semcentres serve`: a model and a collection behind a web page."""

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from centre_builders.errors import InputError, UsageError
from semcentres.collection import Collection
from semcentres.model import Model
from semcentres.pictures import pictures
from semcentres.settings import ServeConfig
from semcentres.web.uploads import SIDE

if TYPE_CHECKING:
    from semcentres.web.session import Session

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 128
DRAIN = 10  # seconds that requests have to end in, once the server is told to


def serve(config: ServeConfig) -> None:
    """Serve until a signal arrives; requests that are under way are answered before it ends.

    Raises:
        UsageError: the port is taken, or the host is not of this machine.
        InputError: the extra is not installed, or model and index do not fit.
    """
    try:
        import uvicorn

        from semcentres.web.app import make_app
        from semcentres.web.impatient import Impatient
    except ModuleNotFoundError as error:
        raise InputError(f"no {error.name}; install the extra: semcentres[serve]") from error
    # Before the model is loaded: a taken port is told at once.
    with _listen(config.host, config.port) as listener:
        app = make_app(open_session(config), host=config.host)
        host = f"[{config.host}]" if ":" in config.host else config.host
        log.info("http://%s:%d (Ctrl-C ends it)", host, listener.getsockname()[1])
        settings = uvicorn.Config(
            app,
            access_log=False,
            http=Impatient,
            limit_concurrency=MOST_CONNECTIONS,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=DRAIN,
        )
        uvicorn.Server(settings).run(sockets=[listener])


def open_session(config: ServeConfig) -> "Session":
    """Return the session of a model and a collection.

    Raises:
        InputError: a folder is not what it should be, or another model made the index.
    """
    from semcentres.web.session import Session

    run = Path(config.model)
    model = Model.load(run)
    collection = Collection.load(config.index or run / "index")
    collection.check_model(model.fingerprint)
    return Session(model, collection, pictures(collection, run, side=SIDE))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}:{port} ({error.strerror}); set another port= or host="
        ) from error
