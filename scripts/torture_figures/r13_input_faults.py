"""R13: mistakes at the command line, each told in one line with its name and a remedy.

A trial is the whole catalogue.
"""

import io
import os
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from semcentres.cli import main
from torture_figures.fault_rows import ROWS, Fault
from torture_figures.fault_world import prepare

GOAL = "all of at least 60 mistakes: right exit code, one line, the name and the remedy in it"


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
    return {
        "goal": GOAL,
        "measured": {"mistakes": len(ROWS), "told": len(ROWS) - len(missed), "not": missed},
        "naive": {"numpy, PIL, faiss, gensim: told with name and remedy": naive()},
        "passed": not missed and len(ROWS) >= 60,
    }  # fmt: skip


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


def naive() -> str:
    """Return how many of four libraries' own messages hold a name and a remedy."""
    import faiss
    import numpy as np
    from gensim.models import KeyedVectors
    from PIL import Image

    words = KeyedVectors(2)
    words.add_vectors(["cat"], np.ones((1, 2), np.float32))
    index = faiss.IndexFlatIP(3)
    asked = (
        ("qzxqzx", lambda: words["qzxqzx"]),
        ("300", lambda: index.search(np.ones((1, 300), np.float32), 1)),
        ("cat.png", lambda: Image.open(io.BytesIO(b"no image"))),
        ("dog", lambda: np.array([[1.0], [1.0, 2.0]])),
    )
    good = 0
    for name, ask in asked:
        try:
            ask()
        except Exception as error:
            good += name in str(error) and ";" in str(error)
    return f"{good} of {len(asked)}"
