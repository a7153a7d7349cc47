"""R11: files, threads and processes that hang, vanish, die or go bad.

The training loop has no loader processes: files are decoded by threads of the one process, before
the first step, into memory or into a mapped file. So what can hang or die there is a file: it goes
bad between being listed and being decoded. Each case must end within half a minute with exit code 3
and the file's name, leave no process and nothing half written; the first also trains to its end
once the file is mended. A trial is all cases. From the second on there are also the tests of
threads whose file does not answer, and of processes of torchrun that are killed, hung, frozen or
raise, which the test suite runs by itself: they assert the end within the time-out and 30 s, the
file or rank and the cause, no orphan, and a checkpoint that is usable. The naive way opens whatever
has the name.
"""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semcentres import cli
from semcentres.cli import main
from semcentres.data.files import FileSource
from torture_figures.forking import Child, Tell
from torture_figures.suite import ended, wrong

PATIENCE = 30.0  # seconds
NUM = 6  # images a class
WORDS = (
    "data=folder", "centres=one_hot", "encoder.width=4", "trainer.steps=2", "trainer.device=cpu",
    "trainer.labelled_batch=4", "trainer.unlabelled_batch=0",
)  # fmt: skip


TESTS = (
    "semcentres/test_silent_files.py",
    "semcentres/test_ranks_faults.py",
    "semcentres/test_ranks.py::test_ranks_with_other_data_are_refused",
    "semcentres/test_engines.py::test_a_process_that_does_not_get_on_is_named",
    "semcentres/test_engines.py::test_torchrun_writes_the_same_bytes_though_a_process_is_killed",
)


def _hang(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CASES: dict[str, Callable[[Path], None]] = {
    "hangs (a pipe in its place)": _hang,
    "vanishes": Path.unlink,
    "is cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "is emptied": lambda path: os.truncate(path, 0),
    "becomes a folder": lambda path: (path.unlink(), path.mkdir())[1],
    "points nowhere": lambda path: (path.unlink(), path.symlink_to("gone"))[1],
    "is no image": lambda path: path.write_text("no image") and None,
}


def run(trials: int, seed: int) -> dict[str, Any]:
    """Spoil a file in each way; with two trials, threads and processes too."""
    faults = []
    for number, (name, spoil) in enumerate(CASES.items()):
        with tempfile.TemporaryDirectory() as place:
            # To the end but once: evaluating and drawing take most of the time.
            if fault := _spoilt(Path(place), spoil, seed, mend=number == 0):
                faults.append(f"{name}: {fault}")
    num, hangs = len(CASES), _naive_hangs()
    processes = ended(*TESTS) if trials > 1 else {}
    return {
        "goal": f"{num}/{num} end within {PATIENCE:.0f} s, the file named, usable once mended;"
        " threads and processes within their time-out + 30 s, the file or rank and cause named",
        "measured": {
            "right": f"{num - len(faults)}/{num}",
            "faults": faults[:3],
            "threads and processes": processes or "by the test suite",
        },
        "naive": f"a plain open of a pipe: {'hangs' if hangs else 'ends'}",
        "passed": not faults and not wrong(processes) and hangs,
    }


def _spoilt(place: Path, spoil: Callable[[Path], None], seed: int, *, mend: bool) -> str:
    """Return what was wrong with a training whose file was spoilt after it was listed."""
    root = place / "pictures"
    victim = _pictures(root, seed)
    whole = victim.read_bytes()
    words = ["train", *WORDS, f"data.root={root}", f"run_dir={place / 'run'}"]

    def work(tell: Tell) -> None:
        read = FileSource.read

        def late(source: FileSource) -> Any:  # noqa: ANN401
            spoil(victim)
            return read(source)

        FileSource.read = late  # type: ignore[method-assign]
        complain = cli._complain
        cli._complain = lambda said, code: (tell(said), complain(said, code))[1]
        raise SystemExit(main(words))

    code, told = Child(work).end(timeout=PATIENCE)
    if code != 3 or victim.name not in " ".join(told):
        return f"exit code {code}, {told}"
    if left := [path for path in (place / "run").rglob(".tmp-*")]:
        return f"left {left}"
    if not mend:
        return ""
    if victim.is_dir() and not victim.is_symlink():
        victim.rmdir()
    victim.unlink(missing_ok=True)
    victim.write_bytes(whole)

    def again(tell: Tell) -> None:
        complain = cli._complain
        cli._complain = lambda said, code: (tell(said), complain(said, code))[1]
        raise SystemExit(main(words))

    code, told = Child(again).end(timeout=20 * PATIENCE)
    return f"mended: exit code {code}, {told}" if code else ""


def _pictures(root: Path, seed: int) -> Path:
    """Write a folder of images and return one that is trained on."""
    draw = np.random.default_rng(seed)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(NUM):
            pixels = draw.integers(256, size=(24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root / "cat" / "3.png"


def _naive_hangs() -> bool:
    with tempfile.TemporaryDirectory() as place:
        pipe = Path(place) / "pipe.png"
        os.mkfifo(pipe)
        code, _ = Child(lambda _: bool(pipe.read_bytes()) and None).end(timeout=2)
        return code == -signal.SIGKILL
