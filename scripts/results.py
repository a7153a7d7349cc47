"""The table of README: Fashion-MNIST with 10 labels a class, by kind of centre, three seeds.

    python scripts/results.py [OUT.json] [key=value ...]

Each cell is a run folder below runs/results, so a stopped table goes on where it was; words go to
every training. Writes JSON and prints Markdown.
"""

import json
import platform
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import semcentres

KINDS = ("one_hot", "random_orthogonal", "word2vec", "sentence")
SEEDS = (0, 1, 2)
MEASURES = {
    "nearest_centre_accuracy": "accuracy",
    "knn_accuracy": "kNN",
    "recall_at_1": "R@1",
    "map_at_r": "MAP@R",
}
OBJECTIVES = {"labels alone": ["trainer.unlabelled_batch=0"], "full loss": []}


def main(words: list[str]) -> None:
    """Train what is missing, write and print the table."""
    out = Path(words.pop(0)) if words and "=" not in words[0] else Path("runs/results.json")
    rows = [row(kind, name, words) for name in OBJECTIVES for kind in KINDS]
    content = {
        "command": "python scripts/results.py",
        "experiment": "fashion_100",
        "words": words,
        "seeds": SEEDS,
        "machine": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "semcentres": version("semcentres"),
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=2) + "\n")
    print(f"| loss | centres | {' | '.join(MEASURES.values())} |")
    print(f"|---|---|{'---|' * len(MEASURES)}")
    for found in rows:
        cells = [spread(found["runs"], key) for key in MEASURES]
        print(f"| {found['loss']} | {found['centres']} | {' | '.join(cells)} |")


def row(kind: str, objective: str, words: list[str]) -> dict[str, Any]:
    """Return the results of one kind of centres under one objective, a run a seed."""
    runs = []
    for seed in SEEDS:
        place = f"runs/results/{objective.replace(' ', '_')}-{kind}-seed{seed}"
        cell = ["experiment=fashion_100", f"centres={kind}", f"seed={seed}", f"run_dir={place}"]
        _, results = semcentres.train(*cell, *OBJECTIVES[objective], *words)
        runs.append({"seed": seed, **{key: results[key] for key in MEASURES}})
        print(place, f"{results['nearest_centre_accuracy']:.4f}", file=sys.stderr, flush=True)
    return {"loss": objective, "centres": kind, "runs": runs}


def spread(runs: list[dict[str, Any]], key: str) -> str:
    """Return mean and standard deviation over seeds, in percent."""
    values = [100 * run[key] for run in runs]
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main(sys.argv[1:])
