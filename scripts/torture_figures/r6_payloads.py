"""R6: files and configurations that would run code, through every loader and verb.

29 trials are all cases that there are, one is every 29th of them.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from pydoc import locate
from tempfile import TemporaryDirectory
from typing import Any, cast

# torch comes first: both bring an OpenMP of their own.
import torch  # isort: skip
import faiss
import numpy as np
import yaml
from hydra.utils import instantiate

from centre_builders.bank import CentreBank
from centre_builders.errors import InputError, UsageError
from centre_builders.sealed import save_sealed
from centre_builders.stored import rebuild
from semcentres.components import build
from semcentres.compose import compose_settings
from semcentres.model import Model
from semcentres.settings import SCHEMAS
from semcentres.weights import CENTRES, WEIGHTS
from torture_figures.forbidden_targets import SHAPES, TARGETS, Component, component, targets_of
from torture_figures.payload_verbs import make_good, verb_words
from torture_figures.payloads import LOADERS, NAIVE, PAYLOADS, run_folder, sentence_folder
from torture_figures.r13_input_faults import told
from torture_figures.sandbox import BAD, MARKER, in_child, outcomes

GOAL = "payload files through every loader and verb, and 25 forbidden targets: 0 executed"

REFUSED = (UsageError.exit_code, InputError.exit_code)


def run(trials: int, seed: int) -> dict[str, Any]:
    """Return how many payloads ran, by our loaders and by the usual ones."""
    step = PARTS // trials
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    _trained()
    contents, kinds = list(PAYLOADS.values()), list(NAIVE)
    known = verb_words(Path(), Path())
    routes = [(t, s, r) for t in TARGETS for s in SHAPES.values() for r in ROUTES]
    targets = list(TARGETS)

    def file(number: int, place: Path) -> str:
        which, payload = divmod(number * step, len(contents))
        return str(LOADERS[which](contents[payload](place / MARKER), place))

    def verb(number: int, place: Path) -> str:
        which, payload = divmod(number * step, len(contents))
        payloads = run_folder(contents[payload](place / MARKER), place)
        code, said = told(verb_words(payloads, good)[which])
        # A text may be read as data: 0. Else the words must have led to the payload.
        if code:
            line = (said.splitlines() or [""])[-1]  # after progress and warnings
            if (judged := _judged(code, line)) != "refused":
                raise RuntimeError(judged)
            # A mistake in the words would be told with the file's name too, but as of usage.
            if "os.mkdir" not in line and (code == UsageError.exit_code or str(place) not in line):
                raise RuntimeError(f"names no payload: {line}")
        return f"exit {code}"

    def target(number: int, place: Path) -> str:
        name, shape, route = routes[number * step]
        os.environ["TORTURE_TARGET"] = name
        return _refusal(route, shape(component(name, place)), place)

    def naive_file(number: int, place: Path) -> str:
        (place / "x").write_bytes(PAYLOADS[kinds[number]](place / MARKER))
        return str(NAIVE[kinds[number]](place / "x"))

    def naive_target(number: int, place: Path) -> str:
        bad = component(targets[number], place)
        call = cast("Callable[..., object]", locate(bad.pop("_target_")))
        return str(call(*bad.pop("_args_"), **bad))

    def by_hydra(number: int, place: Path) -> str:
        return str(instantiate(component(targets[number], place)))

    with TemporaryDirectory() as folder:
        good = Path(folder)
        in_child(lambda: make_good(good))
        verbs = outcomes(verb, len(known) * len(contents) // step)
    measured = {
        "loaders": outcomes(file, len(LOADERS) * len(contents) // step),
        "verbs": verbs,
        "sentence model": outcomes(lambda _, place: str(sentence_folder(place / MARKER, place)), 1),
        "targets": outcomes(target, len(routes) // step, wanted="refused"),
    }
    naive = {
        "loaders": outcomes(naive_file, len(kinds), told_of=()),
        "targets, called": outcomes(naive_target, len(TARGETS), told_of=()),
        "targets, by Hydra with its list of what is blocked": outcomes(
            by_hydra, len(TARGETS), told_of=()
        ),
    }
    # "data check" is the verb check.
    left_out = {*SCHEMAS, "compare"} - {words["data" in words[:1]] for words in known}
    sound = not left_out and not any(set(BAD) & set(found) for found in measured.values())
    # All targets, or one that does nothing would pass for one that was not called.
    toothed = naive["targets, called"] == {"executed": len(TARGETS)}
    toothed &= all(found.get("executed", 0) for found in naive.values())
    return {
        "goal": GOAL,
        "measured": measured | {"verbs left out": sorted(left_out)},
        "naive": naive,
        "passed": sound and toothed,
    }


def _refusal(route: "Route", bad: Component, place: Path) -> str:
    """Return "refused" where a route does so in one line that names a target; else what it did."""
    try:
        code, said = route(bad, place)
    except InputError as error:
        code, said = error.exit_code, str(error)
    named = any(target in said for target in targets_of(bad))
    return _judged(code, said) if named else f"names no target: {said}"


def _judged(code: int, said: str) -> str:
    one_line = len(said.splitlines()) == 1
    return "refused" if code in REFUSED and one_line else f"{code}: {said}"


@cache
def _trained() -> dict[str, Any]:
    """Return the configuration of a training."""
    return asdict(compose_settings("train", []))


def _by_build(bad: Component, _place: Path) -> tuple[int, str]:
    return 0, str(build(bad))


def _by_bank(bad: Component, _place: Path) -> tuple[int, str]:
    return 0, str(rebuild(bad))


def _by_model(bad: Component, place: Path) -> tuple[int, str]:
    """Load a model whose encoder the component is said to be."""
    bank = CentreBank(("a", "b"), np.eye(2, dtype=np.float32), {})
    bank.save(place / CENTRES)
    about = {"encoder": bad, "channels": 1, "size": [8, 8], "bank": bank.fingerprint}
    # JSON holds no bytes.
    save_sealed(place / WEIGHTS, {"w": np.zeros(1)}, {"about": json.dumps(about, default=repr)})
    return 0, str(Model.load(place))


def _by_config(bad: Component, place: Path) -> tuple[int, str]:
    """Evaluate a run whose data the component is said to be."""
    config = {**_trained(), "data": {**_trained()["data"], "source": bad}}
    (place / "config.yaml").write_text(yaml.safe_dump(config))
    return told(["evaluate", f"run_dir={place}"])


Route = Callable[[Component, Path], tuple[int, str]]  # to exit code and what was said
# Prime to all lengths, so that of every 29th case each loader, verb and payload has its turn.
PARTS = 29
ROUTES: tuple[Route, ...] = (_by_build, _by_bank, _by_model, _by_config)
