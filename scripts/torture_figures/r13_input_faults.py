"""R13: mistakes at the command line, each told in one line with its name and a remedy.

A trial is the whole catalogue. The naive way is what libraries say of such mistakes themselves. Of
them less is asked: the culprit by name, and any word of advice.
"""

import io
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from semcentres.cli import main
from torture_figures.fault_rows import ROWS, Fault
from torture_figures.fault_world import prepare

GOAL = "all of at least 60 mistakes: right exit code, one line, the name and the remedy in it"

ADVICE = re.compile(
    r"\b(add|change|check|choose|correct|ensure|fix|give|install|make|must|pass|put|quote|raise|"
    r"remove|rename|replace|set|should|specify|try|use|want(ed)?|write)\b",
    re.IGNORECASE,
)


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return which rows of the catalogue are not told as they should be; nothing is drawn."""
    del trials, seed
    with tempfile.TemporaryDirectory() as place:
        # Whatever is written by mistake stays in there.
        before = Path.cwd()
        os.chdir(place)
        try:
            prepare(Path(place))
            missed = [missing for row in ROWS if (missing := missing_of(row, Path(place)))]
        finally:
            os.chdir(before)
    good, num = naive()
    return {
        "goal": GOAL,
        "measured": {"mistakes": len(ROWS), "told": len(ROWS) - len(missed), "not": missed},
        "naive": f"by numpy, PIL, faiss, gensim, yaml, torch: {good} of {num} told so",
        "passed": not missed and len(ROWS) >= 60 and good < num / 2,
    }


def missing_of(fault: Fault, folder: Path) -> str:
    """Return what a mistake's message lacks; nothing where it is as it should be."""
    code, said = told(fault.arguments(folder))
    line = said.splitlines()[-1] if said.strip() else ""
    lacking = [
        what
        for what, holds in (
            (f"code {fault.code}, got {code}", code == fault.code),
            ("one line", line.startswith("semcentres: ") and "Traceback" not in said),
            (f"name {fault.culprit!r}", fault.culprit in line),
            (f"remedy {fault.remedy!r}", fault.remedy in line),
        )
        if not holds
    ]
    return f"{fault.words}: lacks {', '.join(lacking)} in {line!r}" if lacking else ""


def told(words: list[str]) -> tuple[int, str]:
    """Return the command's exit code and what it wrote to standard error."""
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        try:
            code = main(words)
        except SystemExit as error:
            code = int(error.code or 0)
        except Exception as error:
            return -1, f"Traceback: {error!r}"
    return code, said.getvalue()


def naive() -> tuple[int, int]:
    """Return how many mistakes libraries tell by name and with any advice, and of how many."""
    import faiss
    import numpy as np
    import torch
    import yaml
    from gensim.models import KeyedVectors
    from PIL import Image

    words = KeyedVectors(2)
    words.add_vectors(["cat"], np.ones((1, 2), np.float32))
    index = faiss.IndexFlatIP(3)
    asked = (
        ("qzxqzx", lambda: words["qzxqzx"]),
        ("qzxqzx", lambda: words.get_mean_vector(["qzxqzx"])),
        ("300", lambda: index.search(np.ones((1, 300), np.float32), 1)),
        ("300", lambda: torch.ones(2, 512) @ torch.ones(300, 10)),
        ("cat.png", lambda: Image.open("cat.png")),
        ("notes.png", lambda: Image.open(_file("notes.png", b"no image"))),
        ("short.csv", lambda: np.loadtxt(_file("short.csv", b"1,0\n1\n"), delimiter=",")),
        ("'no'", lambda: yaml.safe_load("- no\n- cat")),
    )
    return sum(_advises(name, ask) for name, ask in asked), len(asked)


def _file(name: str, content: bytes) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name
    return file


def _advises(name: str, ask: Callable[[], object]) -> bool:
    """Return whether an error says a name, and any word of what to do."""
    try:
        ask()
    except Exception as error:
        return name in str(error) and bool(ADVICE.search(str(error)))
    return False
