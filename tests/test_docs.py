"""The documentation builds without a warning, is complete, and what it says to type works.

A block that cannot run stands below `<!-- not run: reason -->`, and is listed here as skipped.
"""

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from omegaconf import DictConfig
from PIL import Image

from semcentres import compose, settings
from semcentres.cli import main
from semcentres.data.fashion_mnist import fashion_mnist
from semcentres.settings import SCHEMAS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CLASSES = {1: "trouser", 3: "dress", 8: "bag", 9: "ankle boot"}
# So that a page takes seconds; what the pages themselves say is kept.
QUICK = [
    "trainer.steps=4",
    "trainer.warmup_steps=1",
    "trainer.checkpoint_every=4",
    "encoder.width=4",
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    code: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    reason = None
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence" and token.info in ("bash", "python"):
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info, token.content, reason)
        said = re.match(r"<!-- not run: (.+) -->", token.content)
        reason = said[1] if said else None


ALL = [block for page in PAGES for block in blocks(page)]


@dataclass
class Reader:
    """Types what a page says, block after block, in the folder where it is."""

    names: dict[str, Any] = field(default_factory=dict)
    server: subprocess.Popen[str] | None = None
    address: str = ""

    def read(self, block: Block) -> None:
        if block.language == "python":
            # As many lines before it as in the page, so that an error names the page's line.
            exec(compile("\n" * block.line + block.code, block.page, "exec"), self.names)
        else:
            for line in block.code.replace("\\\n", "").splitlines():
                if words := shlex.split(line, comments=True):
                    self.type(words)

    def type(self, words: Sequence[str]) -> None:
        if words[:2] == ["semcentres", "serve"]:
            self.serve(words[1:])
        elif words[0] == "semcentres" and words[-2:] == ["||", "true"]:
            assert main(words[1:-2]) != 0, shlex.join(words)
        elif words[0] == "torchrun" or "engine=ray" in words:
            own = ["torch.distributed.run", *words[1:]] if words[0] == "torchrun" else words
            quick = QUICK if "train" in words else []
            subprocess.run([sys.executable, "-m", *own, *quick], check=True)
        elif words[0] == "semcentres":
            assert main(words[1:]) == 0, shlex.join(words)
        elif words[0] == "curl":
            there = [word.replace("http://127.0.0.1:8000", self.address) for word in words]
            subprocess.run([*there, "--silent", "--fail"], check=True, stdout=subprocess.DEVNULL)
        else:
            pytest.fail(
                f"cannot type {shlex.join(words)}; mark the block as not run, with a reason"
            )

    def serve(self, words: Sequence[str]) -> None:
        command = [sys.executable, "-m", "semcentres", *words, "port=0"]
        self.server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.server.stderr is not None
        said = [self.server.stderr.readline()]
        while said[-1] and not said[-1].startswith("http://"):
            said.append(self.server.stderr.readline())
        assert said[-1], f"the server did not start: {''.join(said)}"
        self.address = said[-1].split()[0].rstrip("/")

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.communicate()


pytestmark = pytest.mark.docs


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Let every training be short."""
    original = compose._compose

    def shortened(verb: str, words: Sequence[str], **how: bool) -> DictConfig:
        return original(verb, [*words, *QUICK] if verb == "train" else words, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "_compose", shortened)
        yield


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the pages speak of: pictures, more of them, a list, a query and a run."""
    place, source = tmp_path_factory.mktemp("desk"), fashion_mnist()
    listed = ["path,label,split"]

    def write(row: int, path: str) -> str:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.train.images[row, 0].numpy()).save(place / path)
        return path

    for label, name in (*CLASSES.items(), (6, "unlabelled")):
        for i, row in enumerate((source.train.labels == label).nonzero().flatten()[:20].tolist()):
            path = write(row, f"pictures/{name}/{row}.png")
            split = "train" if i % 5 or label == 6 else "test"
            listed.append(f"{path},{name if label != 6 else ''},{split}")
            write(row + 1, f"more/{row + 1}.png")
    write(0, "query.png")
    (place / "labels.csv").write_text("\n".join(listed))
    with chdir(place):
        train = ["data=folder", "data.root=pictures", "centres=word2vec", "run_dir=runs/mine"]
        assert main(["train", *train]) == 0
    return place


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_can_be_typed(page: Path, desk: Path, tmp_path: Path) -> None:
    todo = [block for block in ALL if block.page == page and block.not_run is None]
    place = shutil.copytree(desk, tmp_path / "desk")
    if re.search(r"semcentres train .*run_dir=runs/mine", page.read_text()):
        shutil.rmtree(place / "runs")  # the page makes it itself
    reader = Reader()
    with chdir(place):
        try:
            for block in todo:
                reader.read(block)
        finally:
            reader.close()


@pytest.mark.parametrize("block", [block for block in ALL if block.not_run], ids=str)
def test_block_is_not_run(block: Block) -> None:
    pytest.skip(str(block.not_run))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages."""
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason="the extra docs is not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run([*command, ROOT / "docs", out], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.timeout(1800)
def test_site_builds_without_a_warning(site: Path) -> None:
    source = (ROOT / "docs" / "objectives.md").read_text()
    formulas = re.findall(r"\$\$.+?\$\$|\$[^$]+\$", source, re.DOTALL)
    assert len(formulas) > 50
    assert (site / "objectives.html").read_text().count("<math") == len(formulas)


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        tags = re.findall(r"<(?:script|img|link|iframe)\b[^>]*>", path.read_text())
        loaded = [address for tag in tags for address in re.findall(r'(?:src|href)="([^"]+)', tag)]
        assert not [address for address in loaded if "//" in address], path


def test_every_key_is_in_the_reference_with_its_default_and_meaning(site: Path) -> None:
    from bs4 import BeautifulSoup

    text = (site / "configuration.html").read_text()
    cells = [row.find_all("td") for row in BeautifulSoup(text, "html.parser").find_all("tr")]
    rows = sorted(tuple(cell.get_text() for cell in row) for row in cells if row)
    shared = (settings.DataSettings, settings.CentresSettings, settings.TrainerSettings)
    wanted = [key for schema in (*shared, *SCHEMAS.values()) for key in dataclasses.fields(schema)]
    assert len(rows) == len(wanted)
    for key in wanted:
        same = [row for row in rows if row[0].rstrip(".") == key.name]
        assert all(row[3] for row in same), key.name
        if key.default not in (dataclasses.MISSING, "???"):
            assert repr(key.default) in {row[2] for row in same}, key.name


def test_every_target_is_in_the_api(site: Path) -> None:
    from sphinx.util.inventory import InventoryFile

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    known = {name for kind in inventory.data.values() for name in kind}
    configuration = "".join(path.read_text() for path in compose.config_folder().rglob("*.yaml"))
    targets = set(re.findall(r"_target_: (\S+)", configuration))
    assert len(targets) > 40
    assert targets - known == set()


def test_formulas_in_docstrings_stand_as_they_were_written(site: Path) -> None:
    from bs4 import BeautifulSoup

    page = BeautifulSoup((site / "api" / "objectives.html").read_text(), "html.parser")
    literal = [block.get_text() for block in page.find_all("pre")]
    assert any("softmin(z) = -t log sum_k exp(-d_k^2 / t)," in text for text in literal)
    assert not page.select("blockquote pre, dd blockquote p")


@pytest.mark.parametrize("group", ["objective", "centres"])
def test_every_choice_is_on_its_page(group: str) -> None:
    page = (ROOT / "docs" / f"{group.removesuffix('s') + 's'}.md").read_text()
    heading = "### `{}`\n" if group == "objective" else "`{}`"
    for option in compose.options(group):
        assert heading.format(option) in page, option


def test_scripts_say_what_is_to_be_installed() -> None:
    """What is sourced without a word of its own takes the script's."""
    for path in (ROOT / "scripts").glob("*.sh"):
        if "/setup.sh" in (text := path.read_text()):
            assert re.search(r'^source .*/setup\.sh" ("|\w)', text, re.MULTILINE), path
