"""A small collection behind the real server, and what friends and foes ask of it."""

import io
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from semcentres.cli import main
from torture_figures.image_kinds import make_bad

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 200)}
TINY = [
    "data=folder", "data.source.size=16", "centres=word2vec", "encoder.width=4",
    "trainer.steps=3", "trainer.warmup_steps=1", "trainer.labelled_batch=8",
    "trainer.unlabelled_batch=0", "trainer.device=cpu", "force_temperature=true",
]  # fmt: skip
SECRET = "the-secret-beside-the-run"  # noqa: S105


def make_run(folder: Path, *, each: int = 40) -> Path:
    """Return the folder of a run over images of three colours; a secret lies beside it."""
    draw = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "images" / name).mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(draw.normal(colour, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{i}.png")
    (folder / "secret.txt").write_text(SECRET)
    run = folder / "run"
    if main(["train", *TINY, f"data.root={folder / 'images'}", f"run_dir={run}"]):
        raise RuntimeError("the run to serve was not made")
    return run


@contextmanager
def served(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Give a server's process and address; it is ended, if it has not ended."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = ""
        for line in process.stderr or ():
            said += line
            if found := re.search(r"http://(\S+:\d+)", line):
                break
        else:
            raise RuntimeError(f"the server did not start: {said}")
        # A pipe that nobody reads would fill up and stop the server.
        reader = threading.Thread(target=lambda: [None for _ in process.stderr or ()])
        reader.start()
        try:
            yield process, found[1]
        finally:
            process.terminate()
            reader.join()


def serve_command(run: Path) -> list[str]:
    """Return the words that serve a run at a free port."""
    return [sys.executable, "-m", "semcentres", "serve", f"model={run}", "port=0"]


def good_uploads() -> list[bytes]:
    """Return image files as visitors send them."""
    files = []
    for i, kind in enumerate(("PNG", "JPEG", "WEBP", "GIF")):
        file = io.BytesIO()
        Image.new("RGB", (400, 300), (60 * i, 90, 200 - 50 * i)).save(file, kind)
        files.append(file.getvalue())
    return files


def hostile_uploads(folder: Path) -> list[bytes]:
    """Return files that no image reader should be sent, and one that is too long."""
    small = [
        path
        for path in (kind.path for kind in make_bad(folder))
        if path.is_file() and path.stat().st_size < 8 << 20
    ]
    large = io.BytesIO()
    Image.new("1", (7000, 7000)).save(large, "PNG")  # allowed, and 6 KB
    return [*(path.read_bytes() for path in small), large.getvalue(), bytes((8 << 20) + 1)]


def traversals(root: Path) -> list[str]:
    """Return addresses that lead out of what is served, if anything follows them."""
    ups = (
        "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%252f", "....//", "..\\", "..%5c",
        "%c0%ae%c0%ae/", "..;/", "%uff0e%uff0e/", "..%00/",
    )  # fmt: skip
    starts = (
        "/",
        "/static/",
        "/static//",
        "/api/items/",
        "/api/uploads/",
        "//",
        "/api/search?upload=",
    )
    ends = ("etc/passwd", str(root / "secret.txt").lstrip("/"), "app.py")
    deep = [start + up * 8 + end for start, up, end in product(starts, ups, ends)]
    flat = [f"/static/{up}app.py" for up in ups]
    whole = [
        "file:///etc/passwd",
        "http://evil.example/",
        "/static//etc/passwd",
        "/%2fetc/passwd",
    ]
    return [*whole, *flat, *deep]


def leaks(answer: bytes) -> bool:
    """Return whether an answer holds what lies outside of what is served."""
    return any(mark in answer for mark in (b"root:", SECRET.encode(), b"def make_app"))
