"""Class names that are paths, markup, formulas or code come back byte for byte, and do nothing."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from semcentres.cli import main
from semcentres.model import Model
from semcentres.settings import ServeConfig
from semcentres.web.app import make_app
from semcentres.web.serve import open_session

NAMES = [
    "AC/DC", "../../etc/cron.d/x", "/etc/passwd", "..", ".", "~", "~root", "C:\\Windows", "CON",
    "aux.txt", "a b", "a:b", "a*b", "a?b", "a|b", "<b>bold</b>", "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>', "'; DROP TABLE classes; --", "{{7*7}}", "${HOME}",
    "$(touch x)", "`touch x`", "%s%s%n", "%2e%2e%2f", "&amp;", "=1+1", "+1", "-1", "@SUM(A1)",
    "null", "None", "true", "no", "on", "1e3", "012", "2001-01-01", "12:30:45", "NaN", "0x10",
    "\u00e9" * 130, "\u65e5\u672c\u8a9e", "\u043a\u043e\u0448\u043a\u0430",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\u05e2\u05d1\u05e8\u05d9\u05ea", "\U0001f600",
    "\ufb01sh", "\u00df", "\u00c5", "x\u00b2", "$a$b$", "\\$x$", "a\\b", "[bold]x[/bold]",
    "a,b", 'a"b', "#hash", "a=b", "{a}", "name", "__proto__", "javascript:alert(1)",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two images of each class, of which one is for the test."""
    place = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    with (place / "list.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for number, name in enumerate(NAMES):
            for split in ("train", "test"):
                path = place / f"{number}-{split}.png"
                Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
                table.writerow([path.name, name, split])
    words = [
        "train", "data=manifest", f"data.root={place / 'list.csv'}", "data.source.size=8",
        "data.source.channels=1", "centres=one_hot", "encoder.width=2",
        "objective=centre_softmax", "trainer.steps=2", "trainer.labelled_batch=8",
        "trainer.unlabelled_batch=0", "trainer.device=cpu", f"run_dir={place / 'run'}",
    ]  # fmt: skip
    assert main(words) == 0
    return place / "run"


# The font lacks some letters.
@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_come_back_through_train_index_web_and_export(
    trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert len(NAMES) >= 60
    model = Model.load(trained)
    assert sorted(model.bank.names) == sorted(NAMES)
    labels = [model.collection.label(row) for row in range(len(model.collection))]
    assert sorted(map(str, labels)) == sorted(NAMES)
    assert (
        main(["export", f"run_dir={trained}", "format=safetensors", f"out={tmp_path / 'b'}"]) == 0
    )
    assert json.loads((tmp_path / "b" / "bundle.json").read_text())["class_names"] == [
        *model.bank.names
    ]
    assert Model.load(tmp_path / "b").bank.names == model.bank.names
    app = make_app(open_session(ServeConfig(model=str(trained))), host="127.0.0.1")
    with TestClient(app, "http://127.0.0.1:8000") as client:
        shown = [one["name"] for one in client.get("/api/about").json()["classes"]]
        assert shown == list(model.bank.names)
        for name in NAMES:
            answer = client.get("/api/search", params={"class": name, "k": 1}).json()
            assert answer["query"]["class"]["name"] == name
    hits = tmp_path / "hits.json"
    for name in ("../../etc/cron.d/x", "=1+1"):
        words = ["search", f"run_dir={trained}", f"class_name='{name}'", "k=100", f"out={hits}"]
        assert main(words) == 0
        assert sorted(hit["label"] for hit in json.loads(hits.read_text())) == sorted(NAMES)
    # Formulas are text in a spreadsheet; everything else is as it was.
    assert main([*words[:-1], f"out={tmp_path / 'hits.csv'}"]) == 0
    with (tmp_path / "hits.csv").open(newline="") as file:
        written = {row["label"] for row in csv.DictReader(file)}
    assert written == {f"'{n}" if n[0] in "=+-@" else n for n in NAMES}


def test_no_file_is_called_like_a_class(trained: Path) -> None:
    there = {path.name for path in trained.parent.rglob("*")}
    assert not there & set(NAMES)
    assert {path.name for path in trained.parent.iterdir()} == {
        "run", "list.csv", *(f"{i}-{s}.png" for i in range(len(NAMES)) for s in ("train", "test")),
    }  # fmt: skip
