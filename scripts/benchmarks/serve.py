"""The web server under sixteen clients for a minute: errors, latencies, growth of memory."""

import asyncio
import io
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

import semcentres
from benchmarks.timing import Mark, Report

CLIENTS, SECONDS = 16, float(os.environ.get("SERVE_SECONDS", "60"))
MOST_GROWTH = 25.0  # MiB between the second sixth of the time and the last
WORDS = (
    "curly", "straight", "line", "circle", "half", "ten", "several", "none", "all", "big", "small",
    "round", "open", "dark",
)  # fmt: skip


def measure() -> Report:
    """Return latencies by kind of request, and the marks."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        semcentres.train(
            "data=mnist_5k", "centres=word2vec", "trainer.steps=20", "trainer.warmup_steps=5",
            "trainer.unlabelled_batch=0", "encoder.width=8", "trainer.device=cpu",
            "force_temperature=true", f"run_dir={run}",
        )  # fmt: skip
        with server(run) as (process, url):
            load = Load(url, process.pid)
            asyncio.run(load.drive())
    latencies = {
        f"{kind}, {name}": float(np.quantile(seconds, share))
        for kind, seconds in sorted(load.seconds.items())
        for name, share in (("p50", 0.5), ("p95", 0.95))
    }
    sixth = len(load.memory) // 6
    early, late = load.memory[sixth : 2 * sixth], load.memory[-sixth:]
    growth = statistics.median(late) - statistics.median(early)
    total = sum(map(len, load.seconds.values()))
    return Report(
        f"semcentres serve, {CLIENTS} clients for {SECONDS:g} s, MNIST-5k",
        "s",
        {f"{CLIENTS} clients": latencies},
        [
            Mark("errors", len(load.errors), 0),
            Mark("growth of memory, MiB", growth, MOST_GROWTH),
        ],
        [
            f"{total:,} answers, {total / SECONDS:,.0f} a second; every client asks for a search"
            " and then its pictures, and now and then sends an image or adds and removes a class.",
            f"Memory {statistics.median(early):.0f} MiB early, {statistics.median(late):.0f} late.",
            *itertools.islice(load.errors, 5),
        ],
    )


@contextmanager
def server(run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command, yield its process and address, and stop it as Ctrl-C does."""
    words = [sys.executable, "-m", "semcentres", "serve", f"model={run}", "port=0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = ""
            for line in process.stderr:
                said += line
                if line.startswith("http://"):
                    break
            else:
                raise RuntimeError(f"the server did not start: {said}")
            yield process, line.split()[0]
        finally:
            process.terminate()


class Load:
    """Clients of one server, and what they met.

    Args:
        url: of the server.
        pid: of its process.
    """

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.status = url, Path(f"/proc/{pid}/status")
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []
        self.memory: list[float] = []  # MiB, ten a second

    async def drive(self) -> None:
        """Let all clients ask until the time is over."""
        async with asyncio.timeout(SECONDS + 60), asyncio.TaskGroup() as group:
            end = time.monotonic() + SECONDS
            group.create_task(self.watch(end))
            for number in range(CLIENTS):
                group.create_task(self.visit(number, end))

    async def watch(self, end: float) -> None:
        """Note the server's memory ten times a second."""
        while time.monotonic() < end:
            line = next(x for x in self.status.read_text().splitlines() if x.startswith("VmRSS"))
            self.memory.append(int(line.split()[1]) / 1024)
            await asyncio.sleep(0.1)

    async def visit(self, number: int, end: float) -> None:
        """Do what a person at the page does, without pauses."""
        draw = random.Random(number)
        async with httpx2.AsyncClient(base_url=self.url, timeout=30) as client:
            about = (await client.get("/api/about")).json()
            trained = [its["name"] for its in about["classes"] if not its["added"]]
            while time.monotonic() < end:
                query = draw.choice(
                    [
                        {"text": " ".join(draw.sample(WORDS, 3))},
                        {"class": draw.choice(trained)},
                        {"item": draw.randrange(about["num_images"])},
                    ]
                )
                if draw.random() < 0.1:
                    async with self.timed("upload"):
                        sent = await client.post("/api/uploads", content=picture(draw))
                        query = {"upload": sent.raise_for_status().json()["id"]}
                if draw.random() < 0.02:
                    await self.change(client, f"plus {number}")
                async with self.timed(f"search by {next(iter(query))}"):
                    found = (await client.get("/api/search", params=query)).raise_for_status()
                for hit in draw.sample(found.json()["hits"], 8):
                    async with self.timed("picture"):
                        (await client.get(hit["thumbnail"])).raise_for_status()

    async def change(self, client: httpx2.AsyncClient, name: str) -> None:
        """Add a class and remove it."""
        async with self.timed("add a class"):
            (await client.post("/api/classes", json={"name": name})).raise_for_status()
        async with self.timed("remove a class"):
            (await client.delete("/api/classes", params={"name": name})).raise_for_status()

    @asynccontextmanager
    async def timed(self, kind: str) -> AsyncIterator[None]:
        """Note how long a request took, or what was wrong."""
        begun = time.perf_counter()
        try:
            yield
            self.seconds[kind].append(time.perf_counter() - begun)
        except httpx2.HTTPError as error:
            self.errors.append(f"{kind}: {error!r}")


def picture(draw: random.Random) -> bytes:
    """Return a JPEG of a camera's size, no two alike."""
    small = Image.frombytes("RGB", (4, 3), draw.randbytes(36))
    buffer = io.BytesIO()
    small.resize((1600, 1200)).save(buffer, "JPEG")
    return buffer.getvalue()
