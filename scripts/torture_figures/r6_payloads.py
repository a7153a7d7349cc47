"""R6: files and configurations that would run code, through every loader and verb.

29 trials are all cases that there are, one is every 29th of them.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

# torch comes first: both bring an OpenMP of their own.
import torch  # isort: skip
import faiss
import hydra.utils
import numpy as np
import yaml

from centre_builders.bank import CentreBank
from centre_builders.sealed import save_sealed
from centre_builders.stored import rebuild
from semcentres.cli import main
from semcentres.components import build
from semcentres.compose import compose_settings
from semcentres.model import Model
from semcentres.weights import CENTRES, WEIGHTS
from torture_figures.payloads import (
    LOADERS,
    NAIVE,
    PAYLOADS,
    call_verb,
    sentence_folder,
    verb_words,
)
from torture_figures.sandbox import BAD, MARKER, outcomes

GOAL = "payload files through every loader and verb, and 25 forbidden targets: 0 executed"

RAN = ("executed", "crash", "hang")
# What would run if it were called; {} is the marker, the file that shows that it was.
TARGETS = {
    "os.system": "touch {}", "os.popen": "touch {}", "os.mkdir": "{}", "os.makedirs": "{}",
    "subprocess.run": "{}", "subprocess.Popen": "{}", "subprocess.getoutput": "touch {}",
    "builtins.eval": "open('{}', 'w')", "builtins.exec": "open('{}', 'w')", "builtins.open": "{}",
    "runpy.run_path": "{}", "timeit.timeit": "open('{}', 'w')", "pathlib.Path.touch": "{}",
    "importlib.import_module": "{}", "shutil.rmtree": "{}", "pickle.loads": "{}",
    "torch.load": "{}", "numpy.load": "{}", "numpy.fromfile": "{}", "joblib.load": "{}",
    "gensim.models.KeyedVectors.load": "{}", "semcentres.checkpoint.shutil.rmtree": "{}",
    "centre_builders.artefact.write_file": "{}", "centre_builders.import_vectors.main": "{}",
    "semcentres.data.npm.read_package": "{}",
}  # fmt: skip
Component = dict[str, Any]
SHAPES: dict[str, Callable[[Component], Component]] = {
    "plain": lambda bad: bad,
    "partial": lambda bad: {**bad, "_partial_": True},
    "nested": lambda bad: {"_target_": "semcentres.encoder.small_conv", "width": {"deep": [bad]}},
    "in a list": lambda bad: {"_target_": "centre_builders.mix.Mix", "builders": [[bad]]},
    "interpolated": lambda bad: {**bad, "x": bad["_target_"], "_target_": "${x}"},
    "from the environment": lambda bad: {**bad, "_target_": "${oc.env:HOME}"},
}


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return how many payloads ran, by our loaders and by the usual ones."""
    step = PARTS // trials
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    _trained()
    contents, kinds = list(PAYLOADS.values()), list(NAIVE)
    num_verbs = len(verb_words(Path()))
    routes = [(t, s, r) for t in TARGETS for s in SHAPES.values() for r in ROUTES]

    def file(number: int, place: Path) -> str:
        which, payload = divmod(number * step, len(contents))
        return str(LOADERS[which](contents[payload](place / MARKER), place))

    def verb(number: int, place: Path) -> str:
        which, payload = divmod(number * step, len(contents))
        return call_verb(which, contents[payload](place / MARKER), place)

    def target(number: int, place: Path) -> str:
        name, shape, route = routes[number * step]
        return str(route(shape(_component(name, place)), place))

    def naive_file(number: int, place: Path) -> str:
        (place / "x").write_bytes(PAYLOADS[kinds[number]](place / MARKER))
        return str(NAIVE[kinds[number]](place / "x"))

    def naive_target(number: int, place: Path) -> str:
        return str(hydra.utils.instantiate(_component(list(TARGETS)[number], place)))

    measured = {
        "loaders": outcomes(file, len(LOADERS) * len(contents) // step),
        "verbs": outcomes(verb, num_verbs * len(contents) // step),
        "sentence model": outcomes(lambda _, place: str(sentence_folder(place / MARKER, place)), 1),
        "targets": outcomes(target, len(routes) // step, told_of=RAN),
    }
    naive = {
        "loaders": outcomes(naive_file, len(kinds), told_of=()),
        "targets": outcomes(naive_target, len(TARGETS), told_of=()),
    }
    # What may be called is refused by its name, or read as data; anything may be said of it.
    sound = not any(
        set(RAN if what == "targets" else BAD) & set(found) for what, found in measured.items()
    )
    toothed = all(found.get("executed", 0) for found in naive.values())
    return {"goal": GOAL, "measured": measured, "naive": naive, "passed": sound and toothed}


def _component(target: str, place: Path) -> Component:
    return {"_target_": target, "_args_": [TARGETS[target].format(place / MARKER)]}


@cache
def _trained() -> dict[str, Any]:
    """Return the configuration of a training."""
    return asdict(compose_settings("train", []))


def _by_build(component: Component, _place: Path) -> object:
    return build(component)


def _by_bank(component: Component, _place: Path) -> object:
    return rebuild(component)


def _by_model(component: Component, place: Path) -> object:
    """Load a model whose encoder the component is said to be."""
    bank = CentreBank(("a", "b"), np.eye(2, dtype=np.float32), {})
    bank.save(place / CENTRES)
    about = {"encoder": component, "channels": 1, "size": [8, 8], "bank": bank.fingerprint}
    save_sealed(place / WEIGHTS, {"w": np.zeros(1)}, {"about": json.dumps(about)})
    return Model.load(place)


def _by_config(component: Component, place: Path) -> object:
    """Evaluate a run whose data the component is said to be."""
    config = {**_trained(), "data": {**_trained()["data"], "source": component}}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    return f"exit {main(['evaluate', f'run_dir={place}'])}"


# Prime to all lengths, so that of every 29th case each loader, verb and payload has its turn.
PARTS = 29
ROUTES = (_by_build, _by_bank, _by_model, _by_config)
