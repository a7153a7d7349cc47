"""R15: the web page under 32 clients of which a fifth sends what no reader of images should see.

A trial is a request. Everything is asked of the real command's process. With 1000 trials or more
there are also the tests of the suite of what the description allows, asked of every operation by
schemathesis, and of markup in the names of classes, shown by Chromium.
"""

import http.client
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from PIL import Image

from torture_figures.suite import ended, wrong
from torture_figures.web_site import (
    COLOURS,
    good_uploads,
    hostile_uploads,
    leaks,
    make_run,
    serve_command,
    served,
    traversals,
)

GOAL = (
    "0 answers of 5xx, p99 <= 1.5 s, growth <= 50 MB, 0 bytes from outside, late ones closed;"
    " no request that the description allows breaks it, no markup in class names runs"
)
LONG = 1000  # trials from which on the suite's tests are run too
TESTS = [
    f"torture/test_web_hostile.py::test_{name}"
    for name in (
        "no_request_that_the_description_allows_breaks_it",
        "harness_reports_an_app_that_breaks",
        "markup_in_class_names_never_runs",
        "markup_runs_in_a_naive_page",
    )
]
EXAMPLES = 200  # of schemathesis, an operation
CLIENTS, HOSTILE, SLOW = 32, 0.2, 60
WARM_UP = 100  # requests before memory is measured
MOST_SECONDS, MOST_GROWTH, LATE = 1.5, 50.0, 25.0
Ask = tuple[str, str, bytes | None]  # method, path, body
# By whatever path this file was found.
NAIVE = f"""import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from torture_figures.r15_web import serve_naively
serve_naively(sys.argv[1])
"""


@dataclass
class Seen:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return what `trials` requests, 200 ways out of the root and slow clients met with."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "kinds").mkdir()
        bad, site = hostile_uploads(folder / "kinds"), make_run(folder)
        with served(serve_command(site)) as (process, address):
            slow = [open_slowly(address) for _ in range(SLOW)]
            began = time.monotonic()
            new = resident(process.pid)
            attack(address, asks(WARM_UP, seed + 1, bad))  # the model is used, caches fill
            before = resident(process.pid)
            seen = attack(address, asks(trials, seed, bad))
            growth = resident(process.pid) - before
            out = sum(leaks(raw(address, way)) for way in ways_out(folder, seed))
            kept = sum(not is_closed(one, began + LATE) for one in slow)
            drained = drains(process.pid, address)
        with served([sys.executable, "-c", NAIVE, str(folder)]) as (_, address):
            naive = attack(address, asks(min(trials, 300), seed, bad))
            naive_out = sum(leaks(raw(address, way)) for way in ways_out(folder, seed))
    tests = ended(*TESTS, FUZZ_EXAMPLES=str(EXAMPLES)) if trials >= LONG else {}
    p99 = sorted(seen.seconds)[int(0.99 * len(seen.seconds))]
    failed = sum(num for code, num in seen.codes.items() if code >= 500)
    naive_failed = sum(num for code, num in naive.codes.items() if code >= 500)
    good = p99 <= MOST_SECONDS and growth <= MOST_GROWTH
    return {
        "goal": GOAL,
        "measured": {
            "requests": len(seen.seconds),
            "5xx": failed,
            "broken": seen.faults[:5],
            "p50, p99, most s": [round(x, 3) for x in quantiles(seen.seconds)],
            "MB more": round(growth, 1),
            f"MB by the {WARM_UP} before": round(before - new, 1),
            "leaks of 200 ways out": out,
            "slow clients not closed": f"{kept} of {SLOW}",
            "answered after SIGTERM": drained,
            "codes": dict(sorted(seen.codes.items())),
            "schemathesis and Chromium": tests or "by the test suite",
        },
        "naive": {"5xx": naive_failed, "leaks of 200 ways out": naive_out},
        "passed": good
        and not (failed or seen.faults or out or kept or wrong(tests))
        and drained
        and naive_failed > 0 < naive_out,
    }


def quantiles(seconds: list[float]) -> list[float]:
    """Return median, 99th percentile and largest."""
    ordered = sorted(seconds)
    return [ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))], ordered[-1]]


def asks(num: int, seed: int, bad: list[bytes]) -> list[Ask]:
    """Return requests as they come: a fifth hostile uploads, the rest what the page asks."""
    draw, good = random.Random(seed), good_uploads()

    def one() -> Ask:
        if draw.random() < HOSTILE:
            return "POST", "/api/uploads", draw.choice(bad)
        row, colour = draw.randrange(100), draw.choice(list(COLOURS))
        return draw.choice(
            [
                ("POST", "/api/uploads", draw.choice(good)),
                ("GET", f"/api/search?text={colour}+{draw.choice(['light', 'dark', 'sky'])}", None),
                ("GET", f"/api/search?class={colour}&k=48", None),
                ("GET", f"/api/search?item={row}&k=24", None),
                ("GET", f"/api/items/{row}/thumbnail?of=x", None),
                ("GET", f"/api/items/{row}/thumbnail?of=x", None),
                ("GET", draw.choice(["/", "/static/app.js", "/api/about", "/api/search"]), None),
                ("POST", "/api/classes", f'{{"name": "{colour} {row}"}}'.encode()),
                ("DELETE", f"/api/classes?name={colour}+{row}", None),
            ]
        )

    return [one() for _ in range(num)]


def attack(address: str, wanted: list[Ask]) -> Seen:
    """Let the clients ask everything, each a request at a time, on a new connection."""
    seen, todo, lock = Seen(), iter(wanted), threading.Lock()

    def client() -> None:
        while True:
            with lock:
                ask = next(todo, None)
            if ask is None:
                return
            began = time.monotonic()
            code, fault = answered(address, ask)
            with lock:
                seen.seconds.append(time.monotonic() - began)
                seen.codes[code] += 1
                seen.faults += [fault] if fault else []

    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return seen


def answered(address: str, ask: Ask) -> tuple[int, str]:
    """Return the code of an answer, and what went wrong beside."""
    method, path, body = ask
    connection = http.client.HTTPConnection(address, timeout=240)
    kind = {"Content-Type": "application/json" if path == "/api/classes" else "image/png"}
    try:
        connection.request(method, path, body, kind if body else {})
        answer = connection.getresponse()
        answer.read()
        return answer.status, ""
    except (OSError, http.client.HTTPException) as error:
        # What is too long may be cut off before it is all sent.
        cut = body is not None and len(body) > 8 << 20 and isinstance(error, ConnectionError)
        return (413, "") if cut else (0, f"{method} {path}: {error!r}")
    finally:
        connection.close()


def ways_out(folder: Path, seed: int) -> list[str]:
    """Return 200 of the ways."""
    return random.Random(seed).sample(traversals(folder), 200)


def raw(address: str, target: str) -> bytes:
    """Return the answer to a request line that no client would send."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        line = f"GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        connection.sendall(line.encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def open_slowly(address: str) -> socket.socket:
    """Return a connection on which a request has begun that never ends."""
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)))
    connection.sendall(b"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    return connection


def is_closed(connection: socket.socket, until: float) -> bool:
    """Return whether the server closes a connection before a time."""
    connection.settimeout(max(0.1, until - time.monotonic()))
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def drains(pid: int, address: str) -> bool:
    """Return whether an upload of which half was sent when SIGTERM arrives is still answered."""
    (host, port), body = address.rsplit(":", 1), good_uploads()[0]
    head = f"POST /api/uploads HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n"
    half = len(body) // 2
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + body[:half])
        time.sleep(1)
        os.kill(pid, signal.SIGTERM)
        time.sleep(1)
        try:
            connection.sendall(body[half:])
            return connection.recv(12) == b"HTTP/1.1 201"
        except OSError:
            return False


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Naive(BaseHTTPRequestHandler):
    """A server as it is quickly written: files by their path, images by their bytes."""

    root = Path()

    def do_GET(self) -> None:  # noqa: N802
        """Answer with a file."""
        self._answer(lambda: (self.root / "static" / unquote(self.path[1:])).read_bytes())

    def do_POST(self) -> None:  # noqa: N802
        """Read an image."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(lambda: repr(Image.open(BytesIO(data)).convert("RGB").size).encode())

    do_DELETE = do_GET  # noqa: N815

    def _answer(self, work: Callable[[], bytes]) -> None:
        try:
            body, code = work(), 200
        except FileNotFoundError:
            body, code = b"", 404
        except Exception as error:
            body, code = repr(error).encode(), 500
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve_naively(root: str) -> None:
    """Serve a folder as a first attempt would."""
    Naive.root = Path(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Naive)
    print(f"http://127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()
