"""A small run and a folder of images, served: by the application here, and by a real process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from semcentres.cli import main
from semcentres.settings import ServeConfig
from semcentres.web.app import make_app
from semcentres.web.serve import open_session
from semcentres.web.session import Session

COLOURS = {
    "red": (200, 30, 30), "green": (30, 160, 40), "blue": (40, 60, 200), "yellow": (230, 220, 40),
}  # fmt: skip
ORANGE = (225, 125, 35)


def paint(folder: Path, colour: tuple[int, int, int], *, many: int, seed: int) -> None:
    """Write images of about one colour."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(many):
        pixels = np.clip(rng.normal(colour, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of 12 images, and 7 of a colour that no class is named after."""
    base = tmp_path_factory.mktemp("images")
    for seed, (name, colour) in enumerate(COLOURS.items()):
        paint(base / name, colour, many=12, seed=seed)
    paint(base / "unlabelled", ORANGE, many=7, seed=9)
    return base


@pytest.fixture(scope="session")
def run_dir(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt the four colours."""
    place = tmp_path_factory.mktemp("runs") / "colours"
    words = [
        "train", "data=folder", f"data.root={images}", "data.source.size=16", "centres=word2vec",
        "encoder.width=8", "objective=centre_softmax", "trainer.steps=80",
        "trainer.labelled_batch=32", "trainer.unlabelled_batch=0", "trainer.learning_rate=0.01",
        "trainer.warmup_steps=5", "trainer.device=cpu", f"run_dir={place}",
    ]  # fmt: skip
    assert main(words) == 0
    return place


@pytest.fixture(scope="session")
def index(images: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of all the images, in their files."""
    place = tmp_path_factory.mktemp("index")
    embeddings = place / "embeddings"
    words = ["embed", f"run_dir={run_dir}", f"images={images}", f"out={embeddings}"]
    assert main(words) == 0
    assert main(["index", f"embeddings={embeddings}", f"out={place / 'index'}"]) == 0
    return place / "index"


@pytest.fixture
def session(run_dir: Path, index: Path) -> Session:
    return open_session(ServeConfig(model=str(run_dir), index=str(index)))


@pytest.fixture
def client(session: Session) -> Iterator[TestClient]:
    app = make_app(session, host="127.0.0.1")
    with TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def url(run_dir: Path, index: Path) -> Iterator[str]:
    """Address of the real command's server."""
    words = ["serve", f"model={run_dir}", f"index={index}", "port=0"]
    command = [sys.executable, "-m", "semcentres", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("http://"):
                break
        else:
            pytest.fail(f"the server did not start: {said}")
        yield line.split()[0]
        process.terminate()
