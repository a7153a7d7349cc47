"""The main job on Fashion-MNIST: four kinds of centres, one training, one table.

    python scripts/quickstart.py [centres=one_hot] [key=value ...]

Words go to `semcentres train`.
"""

import sys
import time

from rich.console import Console
from rich.table import Table

import semcentres
import semcentres.verbs  # now, so that no builder is timed with its imports
from semcentres.cli import guarded

KINDS = ("one_hot", "random_orthogonal", "word2vec", "sentence")
RUN = "runs/quickstart"


def main(words: list[str]) -> None:
    """Build, train and show."""
    # A log is wider than the 80 columns that rich takes it for.
    console = Console(width=None if sys.stdout.isatty() else 120)
    chosen = next((w.partition("=")[2] for w in words if w.startswith("centres=")), "word2vec")
    table = Table(title="Fashion-MNIST: 10 class names, 100 labels, 59,900 images without")
    for column in ("centres", "mean cos", "max cos", "safe temperature", "build s"):
        table.add_column(column, justify="left" if column == "centres" else "right")
    scores = ("accuracy", "kNN", "R@1", "MAP@R")
    for column in scores:
        table.add_column(column, justify="right")
    rows = {kind: build(kind) for kind in KINDS}
    training = ["experiment=fashion_100", f"centres={chosen}", f"run_dir={RUN}/{chosen}"]
    run, results = semcentres.train(*training, *words)
    keys = ("nearest_centre_accuracy", "knn_accuracy", "recall_at_1", "map_at_r")
    for kind, row in rows.items():
        measured = [f"{results[key]:.3f}" for key in keys] if kind == chosen else [""] * len(keys)
        table.add_row(kind, *row, *measured)
    console.print(table)
    console.print(
        f"Accuracy is of the nearest centre, on {results['num_images']:,} test images."
        f" Only {chosen} was trained.\n\n"
        f"report      {run.report}/\n"
        f"results     {run.path}/metrics.json\n"
        f"model card  {run.path}/README.md\n\n"
        "next:\n"
        "  bash scripts/quickstart.sh centres=sentence\n"
        "  .venv/bin/semcentres train experiment=fashion_100\n"
        "  .venv/bin/semcentres centres centres=sentence 'names=[cat,dog,zebra]'\n"
        "  .venv/bin/semcentres train data=folder data.root=YOUR_FOLDER\n"
        "  .venv/bin/semcentres --help",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )


def build(kind: str) -> list[str]:
    """Build one kind of centres, write the bank, and return its row of the table."""
    start = time.monotonic()
    bank = semcentres.centres(f"centres={kind}", f"out={RUN}/centres/{kind}.safetensors")
    seconds = time.monotonic() - start
    shape = bank.geometry()
    numbers = (shape.mean_cosine, shape.max_cosine, shape.safe_temperature)
    return [*(f"{number:.2f}" for number in numbers), f"{seconds:.1f}"]


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(guarded(lambda: main(words), words, "bash scripts/quickstart.sh"))
