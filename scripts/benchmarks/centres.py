"""How long the builders of centres take and how much memory they need, at size.

Each measurement is a process of its own, so that its peak memory is its own; the memory is given
without what the imports take.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Report
from centre_builders import build_bank

SCRIPTS = Path(__file__).resolve().parents[1]
MILLION = 1_000_000
Measured = dict[str, Any]


def peak_mib() -> float:
    """Return the most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def numbered(num: int) -> list[str]:
    """Return so many class names."""
    return [f"class {i}" for i in range(num)]


def nouns(num: int) -> list[str]:
    """Return nouns of WordNet with one sense, evenly spaced, no two with the same."""
    lines = Path("/usr/share/wordnet/index.noun").read_text().splitlines()
    # lemma, part of speech, number of senses, ..., their synsets (wndb(5WN)).
    fields = [line.split() for line in lines if not line.startswith(" ")]
    different = {f[-1]: f[0].replace("_", " ") for f in fields if f[2] == "1"}
    words = list(different.values())
    return words[:: len(words) // num][:num]


def simplex() -> Measured:
    """2,000 classes: the largest error of a cosine."""
    from centre_builders.simplex import Simplex

    bank = build_bank(Simplex(), numbered(2000))
    gram = bank.vectors.astype(np.float64) @ bank.vectors.T
    off = gram[~np.eye(2000, dtype=bool)]
    return {"largest_error": float(np.abs(off + 1 / 1999).max())}


def separated() -> Measured:
    """1,000 classes in 128 dimensions: the largest cosine, and the bound on it."""
    from centre_builders.separated import Separated

    return dict(build_bank(Separated(dimension=128), numbered(1000)).provenance["source"])


def random_million() -> Measured:
    """1,000,000 random centres in 128 dimensions, saved: peak over the size of the bank."""
    from centre_builders.random_orthogonal import RandomOrthogonal

    return _saved(lambda: RandomOrthogonal(dimension=128))


def file_million() -> Measured:
    """The same from an .npy file."""
    from centre_builders.from_file import FromFile

    folder = Path(tempfile.mkdtemp())
    make = (
        "import numpy as np, sys;"
        "rng = np.random.default_rng(0);"
        "np.save(sys.argv[1], rng.standard_normal((1_000_000, 128), dtype=np.float32))"
    )
    # Made by another process, whose memory is not counted.
    subprocess.run([sys.executable, "-c", make, str(folder / "v.npy")], check=True)
    (folder / "names.txt").write_text("\n".join(numbered(MILLION)))
    return _saved(
        lambda: FromFile(path=str(folder / "v.npy"), names_path=str(folder / "names.txt"))
    )


def sentence_22k() -> Measured:
    """22,000 nouns through MiniLM and three templates: the first build, and the second."""
    import os

    from centre_builders.sentence import Sentence

    os.environ["SEMCENTRES_CACHE"] = tempfile.mkdtemp()
    names, seconds = nouns(22_000), []
    for _ in range(2):
        begun = time.monotonic()
        Sentence().build(names, seed=0)
        seconds.append(time.monotonic() - begun)
    return {"first_s": seconds[0], "second_s": seconds[1]}


def hierarchy_1k() -> Measured:
    """1,000 nouns of WordNet: seconds, and the largest error of a similarity."""
    from centre_builders.hierarchy import Hierarchy
    from centre_builders.taxonomy import lcs_height_similarity

    builder = Hierarchy()
    names = nouns(1000)
    begun = time.monotonic()
    raw = builder.build(names, seed=0)
    seconds = time.monotonic() - begun
    placed = builder.place(names)
    wanted = lcs_height_similarity(placed.taxonomy, placed.rows)
    error = float(np.abs(raw.vectors @ raw.vectors.T - wanted).max())
    projected = {k: raw.source[k] for k in ("projected", "largest_change")}
    return {"classes": len(names), "build_s": seconds, "largest_error": error, **projected}


def _saved(make: Callable[[], Any]) -> Measured:
    before = peak_mib()
    names = numbered(MILLION)
    begun = time.monotonic()
    bank = build_bank(make(), names)
    built = time.monotonic() - begun
    with tempfile.TemporaryDirectory() as folder:
        bank.save(Path(folder) / "bank.safetensors")
    size = bank.vectors.nbytes / 2**20
    peak = peak_mib() - before
    return {"build_s": built, "bank_mib": size, "peak_mib": peak, "peak_over_bank": peak / size}


MEASUREMENTS: dict[str, Callable[[], Measured]] = {
    f.__name__: f
    for f in (simplex, separated, hierarchy_1k, random_million, file_million, sentence_22k)
}


def measure() -> Report:
    """Return seconds of each measurement, made in a process of its own; the rest is in notes."""
    report = Report("building centres, with imports")
    for name in MEASUREMENTS:
        command = [sys.executable, "-m", "benchmarks.centres", name]
        begun = time.monotonic()
        done = subprocess.run(command, check=True, cwd=SCRIPTS, stdout=subprocess.PIPE, text=True)
        report.values[name] = {"seconds": time.monotonic() - begun}
        found = json.loads(done.stdout)
        told = ", ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()
        )
        report.notes.append(f"{name}: {told}")
    return report


if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[sys.argv[1]]()))
