"""The web page under attack: bad uploads, ways out, slow clients, markup, any request (R15)."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI, HTTPException
from hypothesis import HealthCheck, given, settings
from playwright.sync_api import Browser
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from torture_figures import r15_web
from torture_figures.web_site import make_run, serve_command, served

from semcentres.settings import ServeConfig
from semcentres.web import impatient
from semcentres.web.app import make_app
from semcentres.web.serve import open_session

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))  # a request kind
CHECKS = [not_a_server_error, response_schema_conformance, content_type_conformance]
HIT = "window.hit=(window.hit||0)+1"
MARKUP = [
    f"<script>{HIT}</script>", f"<img src=x onerror={HIT}>", f"<svg onload={HIT}>",
    f'"><img src=x onerror={HIT}>', f"'><svg/onload={HIT}>", f"</title><script>{HIT}</script>",
    f"<a href=javascript:{HIT}>a</a>", f"javascript:{HIT}", f"<iframe srcdoc='<script>{HIT}'>",
    f"<details open ontoggle={HIT}>", f"${{{HIT}}}", f"{{{{{HIT}}}}}",
    "<style>*{display:none}</style>", "<base href=//evil.example>", "<!--", "]]>", "%3Cscript%3E",
    "&lt;img src=x onerror=1&gt;",
]  # fmt: skip
# A description for each, so that no two have the same centre.
WORDS = [
    "apple", "river", "hammer", "music", "winter", "doctor", "bridge", "coffee", "garden", "horse",
    "island", "jacket", "kitchen", "lemon", "mountain", "needle", "ocean", "paper",
]  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("site"), each=12)


@pytest.fixture
def app(run_dir: Path) -> FastAPI:
    return make_app(open_session(ServeConfig(model=str(run_dir))), host="testserver")


@pytest.fixture(scope="module")
def attacked(figure: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What the figure finds in its short form; times are for its long one."""
    return figure("R15")


def test_nothing_breaks_leaks_or_hangs(attacked: dict[str, Any]) -> None:
    found = attacked["measured"]
    assert found["requests"] == 200
    assert (found["5xx"], found["broken"]) == (0, [])
    assert found["leaks of 200 ways out"] == 0
    assert found["slow clients not closed"].startswith("0 of")
    assert found["MB more"] <= r15_web.MOST_GROWTH
    assert {"201", "400", "413"} <= found["codes"].keys()


def test_what_is_under_way_is_answered_after_sigterm(attacked: dict[str, Any]) -> None:
    assert attacked["measured"]["answered after SIGTERM"]


def test_naive_server_breaks_and_leaks(attacked: dict[str, Any]) -> None:
    assert min(attacked["naive"].values()) > 0


def fuzz(app: FastAPI) -> set[str]:
    """Ask all that an app's description allows, and return the operations asked."""
    asked = set[str]()
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            answer = case.call()
            asked.add(case.operation.label)
            case.validate_response(answer, checks=CHECKS)

        ask()
    return asked


def test_no_request_that_the_description_allows_breaks_it(app: FastAPI) -> None:
    assert len(fuzz(app)) == 9


def test_harness_reports_an_app_that_breaks() -> None:
    naive = FastAPI()

    @naive.get("/items/{row}")
    def item(row: int) -> int:
        if row > 9:
            raise HTTPException(500)
        return row

    with pytest.raises(FailureGroup, match="Server error"):
        fuzz(naive)


@pytest.fixture
def listening(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A server in this process, which waits a fifth of a second for a request."""
    monkeypatch.setattr(impatient, "WAIT", 0.2)
    config = uvicorn.Config(app, http=impatient.Impatient, log_level="critical", lifespan="off")
    server, place = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield place.getsockname()
    server.should_exit = True
    thread.join()
    place.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nabc",
    ],
    ids=["nothing", "half a line", "half a head", "half a body"],
)  # fmt: skip
def test_request_that_does_not_end_is_closed(listening: tuple[str, int], begun: bytes) -> None:
    with socket.create_connection(listening, timeout=30) as connection:
        connection.sendall(begun)
        try:
            said = connection.recv(100)
        except ConnectionError:
            said = b""
        assert said == b""


def test_request_that_takes_its_time_to_be_answered_is_not_closed(
    listening: tuple[str, int],
) -> None:
    with socket.create_connection(listening, timeout=60) as connection:
        connection.sendall(b"GET /api/map HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(15) == b"HTTP/1.1 200 OK"


def test_markup_in_class_names_never_runs(run_dir: Path, browser: Browser) -> None:
    with served(serve_command(run_dir)) as (_, address), browser.new_context() as context:
        page, dialogs, hosts = context.new_page(), list[str](), set[str]()
        page.set_default_timeout(60_000)
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        for name, word in zip(MARKUP, WORDS, strict=True):
            told = {"name": name, "description": word}
            added = page.request.post(f"http://{address}/api/classes", data=told)
            assert added.ok, (name, added.text())
        for place in ("/", "/?item=1", "/?view=map", "/?class=%3Cimg%20src=x%20onerror=1%3E"):
            page.goto(f"http://{address}{place}")
            page.wait_for_selector("main[aria-busy=false]")
            assert page.evaluate("window.hit") is None
        page.goto(f"http://{address}/")
        page.wait_for_selector("main[aria-busy=false]")
        shown = page.locator("#classes").inner_text()
        assert [name for name in MARKUP if name not in shown] == []
        for name in MARKUP:
            page.goto(f"http://{address}/?class={page.evaluate('encodeURIComponent', name)}")
            page.wait_for_selector("main[aria-busy=false]")
            assert page.get_by_role("heading", level=1).inner_text() == name
        assert page.evaluate("window.hit") is None
        assert page.locator("iframe, base, details").count() == 0
        assert dialogs == []
        assert hosts == {address}


def test_markup_runs_in_a_naive_page(browser: Browser) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_content("<ul></ul>")
        for name in MARKUP:
            page.evaluate("name => document.querySelector('ul').innerHTML += name", name)
        page.wait_for_function("window.hit > 0")
