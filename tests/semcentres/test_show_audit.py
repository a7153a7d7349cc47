"""What a terminal gets of an audit."""

import json
import re

import pytest

from centre_builders.audit import Audit, ClassAudit, audit
from centre_builders.class_names import ClassNames
from centre_builders.findings import Finding, Severity
from centre_builders.one_hot import OneHot
from centre_builders.vocabulary import Resolution
from semcentres.show_audit import show


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def one(
    name: str, *tokens: str, text: str | None = None, unknown: tuple[str, ...] = ()
) -> ClassAudit:
    return ClassAudit(name, "n.txt:1", Resolution(text or name, tokens, unknown))


def test_shows_how_classes_are_read_and_what_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    classes = (
        one("T-shirt/top", "t-shirt", "top"),
        one("x", "ice", text="ice bjear", unknown=("bjear",)),
    )
    findings = (
        Finding(Severity.FAULT, "same name", ("a",), "first said", "mend it so"),
        Finding(Severity.NOTE, "homograph", ("b",), "second said", "or so"),
    )
    show(Audit(classes, findings, 0.95))
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines]
    assert ["T-shirt/top", "", "t-shirt + top", "", ""] in cells
    assert ["x", "ice bjear", "ice", "bjear", ""] in cells
    assert ["fault", "first said", "mend it so"] in cells
    assert ["note", "second said", "or so"] in cells
    assert lines[-1] == "not safe: 1 fault"


def test_names_never_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    names = (
        "[red]x[/red]",
        "ca\x1b[31mt",
        "\u202egod",
        "a\u2028b",
        "\ud800",
        "[/]",
        "t\x00",
        "t\rx",
    )
    audited = audit(ClassNames(names), OneHot())
    show(audited)
    out = capsys.readouterr().out
    for shown in (
        "[red]x[/red]",
        r"ca\x1b[31mt",
        r"\u202egod",
        r"a\u2028b",
        r"\ud800",
        "[/]",
        r"t\x00",
    ):
        assert shown in out
    assert not set(out) & {"\x1b", "\u202e", "\u2028", "\ud800", "\x00", "\r"}
    # Four names have hidden characters that no class may have, and one a lone surrogate.
    assert out.splitlines()[-1] == "not safe: 5 faults"
    written = json.dumps(audited.to_json())
    assert json.loads(written)["classes"][1]["name"] == names[1]
    written.encode("ascii")


def test_long_names_are_folded_and_not_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    show(Audit((one("é" * 300),), (), 0.95))
    out = capsys.readouterr().out
    assert out.count("é") == 300
    assert "…" not in out
    assert out.splitlines()[-1] == "safe to train"


def test_many_classes_are_shortened_to_those_to_mend(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"name{i}" for i in range(45)]
    notes = [Finding(Severity.NOTE, "homograph", (n,), f"note of {n}", "") for n in names[:41]]
    warning = Finding(Severity.WARNING, "unknown word", ("name44",), "word said", "mend")
    classes = tuple(one(name) for name in names)
    show(Audit(classes, (warning, *notes), 0.95))
    out = capsys.readouterr().out
    assert re.findall(r"name\d+", out) == ["name44"]
    assert "word said" in out
    assert "44 of 45 classes have no fault and no warning" in out
    assert "41 notes" in out
    assert out.splitlines()[-1] == "safe to train"
    show(Audit(classes[:40], (warning, *notes[:40]), 0.95))
    out = capsys.readouterr().out
    assert all(out.count(f"note of {name} ") == 1 for name in names[:40])
    assert all(f"│ {name} " in out for name in names[:40])
