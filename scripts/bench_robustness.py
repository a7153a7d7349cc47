"""The table of docs/robustness.md: clean, attacked and certified accuracy, on Fashion-MNIST.

    python scripts/bench_robustness.py [out=runs/robustness] [steps=600] [images=500] [attack=20]
        [seed=0]

100 labels a class and 59,000 images without; every row has equal encoder widths, views, batches,
steps and seed, and differs by what its words say. Trains what is not trained yet (a stopped run
goes on), attacks and certifies each run, and writes robustness.json and .md to the folder.
About 20 minutes on one core that has nothing else to do.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import semcentres
from semcentres.compose import compose_settings
from semcentres.measure_robustness import robustness

COMMON = (
    "data=fashion_mnist", "data.labels_per_class=100", "data.validation=1000", "centres=one_hot",
    "views=fashion", "trainer.labelled_batch=64", "trainer.unlabelled_batch=64",
    "trainer.balanced_batches=true", "trainer.precision=32-true",
)  # fmt: skip
LABELS = ("objective=centre_softmax", "objective.sharpness=10", "trainer.unlabelled_batch=0")
ENERGY = (
    "objective=cluster_energy", "objective.temperature=0.3", "objective.unlabelled_weight=2",
    "objective.balance_weight=0", "objective.balance_targets=true", "trainer.teacher=true",
)  # fmt: skip
LIPSCHITZ = ("encoder=lipschitz", "encoder.gain=1", "trainer.weight_decay=0")
NOISE = ("++views.first.noise=0.25", "++views.second.noise=0.25")
RADII = ("l2=[0.25,0.5,1.0]", "linf=[0.01,0.03]")
DEFAULTS = {"out": "runs/robustness", "steps": "600", "images": "500", "attack": "20", "seed": "0"}


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        words: of the training, beside those in common.
        asked: of the verb `robustness`, beside those in common.
    """

    words: tuple[str, ...]
    asked: tuple[str, ...] = ()


def attacked(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of an objective as those of the same one, trained adversarially."""
    (name, *options) = words
    inner = name.replace("objective=", "objective@objective.objective=")
    moved = [word.replace("objective.", "objective.objective.", 1) for word in options]
    return ("objective=adversarial", inner, "objective.radius=0.5", *moved)


ROWS = {
    "cross-entropy": Row(LABELS),
    "cluster energy": Row(ENERGY, ("num_views=3",)),
    "cross-entropy, adversarial": Row(attacked(LABELS)),
    "cluster energy, adversarial": Row(attacked(ENERGY), ("num_views=3",)),
    "cross-entropy, Lipschitz encoder": Row((*LABELS, *LIPSCHITZ)),
    "cluster energy, Lipschitz encoder": Row((*ENERGY, *LIPSCHITZ)),
    "cross-entropy, noise, smoothed": Row(
        (*LABELS, *NOISE), ("certify=smoothing", "sigma=0.25", "samples=1000")
    ),
}


def main(words: list[str]) -> int:
    """Train, measure and write the table; return the exit code."""
    given = dict(word.split("=", 1) for word in words)
    if unknown := sorted(set(given) - set(DEFAULTS)):
        print(f"no word {unknown[0]}; there are {', '.join(DEFAULTS)}", file=sys.stderr)
        return 2
    given = DEFAULTS | given
    out, found = Path(given["out"]), {}
    for name in ROWS:
        found[name] = measured(name, given)
        print(f"{name}: done", flush=True)
    machine = {"commit": commit(), "torch": torch.__version__, "words": given}
    (out / "robustness.json").write_text(json.dumps({**machine, "rows": found}, indent=2) + "\n")
    (out / "robustness.md").write_text(table(found) + "\n" + views(found))
    print((out / "robustness.md").read_text())
    return 0


def measured(name: str, given: dict[str, str]) -> dict[str, Any]:
    """Train a row, if it is not trained yet, and return what the verb finds of it."""
    row, steps = ROWS[name], given["steps"]
    seed = f"seed={given['seed']}"
    run_dir = f"run_dir={Path(given['out']) / name.replace(', ', '-').replace(' ', '_')}"
    loop = (f"trainer.steps={steps}", f"trainer.checkpoint_every={steps}")
    semcentres.train(*COMMON, *loop, seed, *row.words, run_dir)
    asked = (run_dir, f"num_images={given['images']}", f"steps={given['attack']}", seed)
    _, results = robustness(compose_settings("robustness", [*asked, *RADII, *row.asked]))
    return dict(results)


def commit() -> str:
    """Return the commit of the code that is measured."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def table(found: dict[str, Any]) -> str:
    """Return the rows as Markdown, in percent."""
    first = next(iter(found.values()))
    heads = ["", "clean", "ECE"]
    for part in ("attacked", "certified"):
        for norm in ("l2", "linf"):
            heads += [f"{part} {norm} {row['radius']:g}" for row in first[part].get(norm, [])]
    lines = [heads, ["---"] * len(heads)]
    for name, results in found.items():
        certified = results["certified"]
        rows = [*results["attacked"]["l2"], *results["attacked"]["linf"], *certified["l2"]]
        clean = certified.get("smoothed_accuracy", results["clean_accuracy"])
        shares = [results["clean_accuracy"], results["ece"], *(row["accuracy"] for row in rows)]
        cells = [f"{100 * share:.1f}" for share in shares]
        if "smoothed_accuracy" in certified:
            cells[0] += f" (smoothed {100 * clean:.1f})"
        lines.append([name, *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def views(found: dict[str, Any]) -> str:
    """Return what more views bring as Markdown, in percent."""
    heads = ("", "views", "accuracy", "ECE", "attacked", "attacked through one view")
    text = f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for name, results in found.items():
        for row in results.get("views", []):
            keys = ("accuracy", "ece", "attacked_accuracy", "attacked_through_one_view")
            cells = [f"{100 * row[key]:.1f}" for key in keys]
            text += f"| {name} | {row['views']} | {' | '.join(cells)} |\n"
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
