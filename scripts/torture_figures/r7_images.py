"""R7: images as strangers send them: right pixels, or one line each; the run goes on, in bounds.

A trial is a mutated file. The memory is that of this process above what it was before.
"""

import ctypes
import logging
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from centre_builders.errors import InputError
from semcentres.data.files import FileSource, ImageFile
from semcentres.data.readable import read_images
from torture_figures.image_kinds import SIZE, Kind, make_kinds, mutated

GOAL = "all good files right to the pixel, each bad one told once, memory <= base + 400 MB"
MOST = 400  # MB
SLOWEST = 20.0  # seconds for one mutated file
UNBOUNDED = ("pipe.png", "device.png", "endless.jpg", "bomb144.png")  # not for the naive way


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return what became of all kinds, of `trials` mutated files, and of runs that hold them."""
    with tempfile.TemporaryDirectory() as place:
        kinds = make_kinds(Path(place))
        told, peak = measured_peak(lambda: faults_of(kinds))
        changed = mutate(kinds, Path(place) / "mutated", trials, seed)
        read, refused, wrong = attack(changed)
        paths = [kind.path for kind in kinds] + changed
        runs, run_peak = measured_peak(lambda: faults_of_runs(paths, len(kinds)))
        peak = max(peak, run_peak)
        naive, naive_peak = measured_peak(lambda: faults_of(kinds, naive_pixels))
    told += wrong + runs
    return {
        "goal": GOAL,
        "measured": {
            "kinds": len(kinds),
            "mutated": f"{read} read, {refused} refused",
            "faults": told,
            "peak MB above base": round(peak),
        },
        "naive": {"faults": len(naive), "peak MB above base": round(naive_peak), "of": naive},
        "passed": not told and peak <= MOST and bool(naive) and naive_peak > peak,
    }


def faults_of(kinds: list[Kind], pixels: Callable[[Path], np.ndarray] | None = None) -> list[str]:
    """Return what is wrong with how each kind is read: by us as a batch, or one by one."""
    found, said = ours(kinds) if pixels is None else one_by_one(kinds, pixels)
    faults = []
    for kind in kinds:
        name, got = kind.path.name, found.get(kind.path)
        if kind.wanted is None:
            # Naive ways need not say the same.
            reason = kind.reason if pixels is None else ""
            if got is not None:
                faults.append(f"{name}: read, though it must be refused")
            elif said[kind.path].count(str(kind.path)) != 1 or reason not in said[kind.path]:
                faults.append(f"{name}: told as {said[kind.path]!r}")
        elif got is None:
            faults.append(f"{name}: {said[kind.path]}")
        elif (off := int(np.abs(got.astype(int) - kind.wanted.astype(int)).max())) > kind.atol:
            faults.append(f"{name}: {off} of 255 levels off")
    return faults


Read = tuple[dict[Path, np.ndarray], dict[Path, str]]


def ours(kinds: list[Kind]) -> Read:
    """Return pixels of what is read, and the lines about what is not, as the verbs get them."""
    paths = [kind.path for kind in kinds]
    found, lines = dict[Path, np.ndarray](), list[str]()
    for good, images, bad in read_images(paths, size=SIZE, channels=3, batch=16):
        found |= zip(good, images.permute(0, 2, 3, 1).numpy(), strict=True)
        lines += bad
    return found, {path: "\n".join(x for x in lines if f"{path} " in x) for path in paths}


def one_by_one(kinds: list[Kind], pixels: Callable[[Path], np.ndarray]) -> Read:
    """Return the same of a function that reads a file or raises."""
    found, said = dict[Path, np.ndarray](), dict[Path, str]()
    for kind in kinds:
        if kind.path.name in UNBOUNDED:
            continue
        try:
            found[kind.path] = pixels(kind.path)
        except Exception as error:
            said[kind.path] = f"{kind.path}: {type(error).__name__}"
    # What it cannot even be asked about counts as read.
    found |= {kind.path: np.empty(0) for kind in kinds if kind.path.name in UNBOUNDED}
    return found, said


def naive_pixels(path: Path) -> np.ndarray:
    """Read an image as most loaders do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            return np.asarray(ImageOps.fit(image.convert("RGB"), (SIZE, SIZE)))


def mutate(kinds: list[Kind], folder: Path, num: int, seed: int) -> list[Path]:
    """Return mutated copies of the small good kinds."""
    folder.mkdir()
    whole = [kind.path for kind in kinds if kind.wanted is not None]
    whole = [path for path in whole if not path.name.startswith("large")]
    draw, made = np.random.default_rng(seed), []
    for number in range(num):
        source = whole[number % len(whole)]
        made.append(folder / f"{number:05}_{source.name}")
        made[-1].write_bytes(mutated(source.read_bytes(), draw))
    return made


def attack(paths: list[Path]) -> tuple[int, int, list[str]]:
    """Return how many are read and refused, and what is wrong: a crash, a silence, a wait."""
    read, lines, wrong = 0, list[str](), list[str]()
    began = time.monotonic()
    for path in paths:
        try:
            for good, _, bad in read_images([path], size=SIZE, channels=3, batch=1):
                read += len(good)
                lines += bad
                if len(good) + sum(line.count(str(path)) for line in bad) != 1:
                    wrong.append(f"{path.name}: told as {bad}")
        except Exception as error:
            wrong.append(f"{path.name}: {type(error).__name__} {error}")
        began, took = time.monotonic(), time.monotonic() - began
        if took > SLOWEST:
            wrong.append(f"{path.name}: {took:.0f} s")
    return read, len(lines), wrong


def faults_of_runs(paths: list[Path], num_kinds: int) -> list[str]:
    """Return what is wrong with data sets that hold all these files, one copy of each class."""
    files = [ImageFile(path, path.name, row % 2) for row, path in enumerate(paths)]
    train, test = files[:-2], files[-2:]
    good = [file for file in files[:num_kinds] if file.path.name == "plain.png"]
    made = FileSource(
        "torture", ("a", "b"), tuple(train), (*test, *good), size=SIZE, max_unreadable=0.9
    )
    faults = []
    with lines_of("semcentres.data.decoded") as lines:
        source = made.read()
    bad = {line.split(" is not a readable image")[0] for line in lines if "readable" in line}
    told = Counter(line.split(" is not a readable image")[0] for line in lines)
    faults += [f"{path}: told {told[path]} times in a run" for path in bad if told[path] != 1]
    num = len(source.train) + len(source.test) + len(bad)
    if num != len(train) + len(test) + len(good):
        faults.append(f"{num} images read or told of {len(train) + len(test) + len(good)}")
    strict = FileSource("torture", ("a", "b"), made.train, made.test, size=SIZE)
    try:
        strict.read()
        faults.append("a run begins with more bad files than are allowed")
    except InputError as error:
        if "max_unreadable" not in str(error):
            faults.append(f"too many bad files are told as {error}")
    return faults


@contextmanager
def lines_of(name: str) -> Iterator[list[str]]:
    """Give what a logger says within."""
    lines: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger(name)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def measured_peak(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what the work returns, and its peak of resident memory above the start in MB."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now
    base = resident("VmRSS")
    return work(), resident("VmHWM") - base


def resident(field: str) -> float:
    """Return a field of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) / 1000
