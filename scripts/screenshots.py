"""Take the README's pictures of the web page: emoji, a fifth of whose names were never trained.

    semcentres train experiment=emoji centres=sentence_axes run_dir=runs/emoji
    python scripts/screenshots.py runs/emoji docs

Needs the extra `test` and Debian's chromium. Only pictures that may be shown are: Google's and
Twitter's.
"""

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import semcentres
from semcentres.data.emoji import emoji
from semcentres.indexing import index
from semcentres.settings import IndexConfig

CHROMIUM = Path("/usr/bin/chromium")
SIZE = {"width": 1180, "height": 760}


def main(run: str, out: Path) -> None:
    """Write web_text.png, web_added.png, web_map.png and web_phone.png."""
    with (
        tempfile.TemporaryDirectory() as folder,
        server(run, indexed(run, Path(folder))) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def open_page(scheme: str, **size: int) -> Page:
            look = {"color_scheme": scheme, "viewport": SIZE | size}
            page = browser.new_page(base_url=url, **look)
            page.set_default_timeout(600_000)
            return page

        page = open_page("light")
        shoot(page, "/?text=fresh+fruit", out / "web_text.png")
        page.get_by_role("textbox", name="Find or add a class").fill("zebra")
        page.get_by_role("button", name="Add “zebra” as a class").click()
        page.wait_for_url("**/?class=zebra**")
        shoot(page, "/?class=zebra", out / "web_added.png")
        shoot(open_page("dark"), "/?view=map", out / "web_map.png")
        shoot(open_page("dark", width=360), "/?text=hot+drink", out / "web_phone.png")
        browser.close()


def indexed(run: str, folder: Path) -> Path:
    """Write the pictures to files, embed and index them; return the index."""
    source = emoji(size=64, vendors=["google", "twitter"])
    for vendor, images in (("google", source.train), ("twitter", source.test)):
        for image, label in zip(images.images, images.labels.tolist(), strict=True):
            place = folder / "images" / source.class_names[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{vendor}.png")
    embeddings, out = folder / "embeddings", folder / "index"
    semcentres.embed(f"run_dir={run}", f"images={folder / 'images'}", f"out={embeddings}")
    index(IndexConfig(embeddings=str(embeddings), out=str(out)))
    return out


@contextmanager
def server(run: str, index: Path) -> Iterator[str]:
    """Start the command, yield its address, and end it."""
    words = [
        sys.executable,
        "-m",
        "semcentres",
        "serve",
        f"model={run}",
        f"index={index}",
        "port=0",
    ]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield next(line.split()[0] for line in process.stderr or () if line[:4] == "http")
        finally:
            process.terminate()


def shoot(page: Page, address: str, path: Path) -> None:
    """Write what an address shows, in few colours and so in few bytes."""
    page.goto(address)
    page.wait_for_selector("main[aria-busy=false]")
    page.wait_for_selector(".wait", state="detached")
    page.wait_for_load_state("networkidle")
    shown = Image.open(io.BytesIO(page.screenshot()))
    shown.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
