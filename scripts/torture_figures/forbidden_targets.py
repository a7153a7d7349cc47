"""25 targets that no configuration may name, each with what makes a call of it felt.

A call leaves the marker behind, or reads or removes the canary, which the sandbox sees.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import joblib

from torture_figures.payloads import PAYLOADS, Payload
from torture_figures.sandbox import CANARY, MARKER

Component = dict[str, Any]
Lay = Callable[[Path], list[Any]]  # lays files into a folder; returns arguments
SCRIPT = "open({!r}, 'w')"


def component(target: str, place: Path) -> Component:
    """Return a mapping that calls a target, once what it is given is laid into a folder."""
    return {"_target_": target, "_args_": TARGETS[target](place), **KEYWORDS.get(target, {})}


def targets_of(node: object) -> list[str]:
    """Return all targets that a configuration names, as it names them."""
    if isinstance(node, dict):
        own = [node["_target_"]] if "_target_" in node else []
        return own + [target for value in node.values() for target in targets_of(value)]
    return [t for value in node for t in targets_of(value)] if isinstance(node, list) else []


def _marker(place: Path) -> str:
    return str(place / MARKER)


def _canary(place: Path) -> list[Any]:
    (place / CANARY).write_bytes(bytes(8))
    return [str(place / CANARY)]


def _canary_folder(place: Path) -> list[Any]:
    (place / CANARY).mkdir()
    return [str(place / CANARY)]


def _payload(kind: str, place: Path) -> list[Any]:
    (place / "x").write_bytes(PAYLOADS[kind](place / MARKER))
    return [str(place / "x")]


def _joblib(place: Path) -> list[Any]:
    return list(joblib.dump(Payload(place / MARKER), place / "x"))


def _script(place: Path) -> list[Any]:
    (place / "evil.py").write_text(SCRIPT.format(_marker(place)))
    return [str(place / "evil.py")]


def _module(place: Path) -> list[Any]:
    """A module in a folder that is searched, as the working directory often is."""
    name = f"evil_{os.getpid()}_{place.name}"
    Path(*_script(place)).rename(place / f"{name}.py")
    sys.path.insert(0, str(place))
    return [name]


TARGETS: dict[str, Lay] = {
    "os.system": lambda place: [f"touch {_marker(place)}"],
    "os.popen": lambda place: [f"touch {_marker(place)}"],
    "os.mkdir": lambda place: [_marker(place)],
    "os.makedirs": lambda place: [_marker(place)],
    "subprocess.run": lambda place: [["touch", _marker(place)]],
    "subprocess.Popen": lambda place: [["touch", _marker(place)]],
    "subprocess.getoutput": lambda place: [f"touch {_marker(place)}"],
    "builtins.eval": lambda place: [SCRIPT.format(_marker(place))],
    "builtins.exec": lambda place: [SCRIPT.format(_marker(place))],
    "builtins.open": lambda place: [_marker(place), "w"],
    "runpy.run_path": _script,
    "timeit.timeit": lambda place: [SCRIPT.format(_marker(place))],
    "pathlib.Path.touch": lambda place: [_marker(place)],
    "importlib.import_module": _module,
    "shutil.rmtree": _canary_folder,
    "pickle.loads": lambda place: [PAYLOADS["pickle"](place / MARKER)],
    "torch.load": partial(_payload, "torch"),
    "numpy.load": partial(_payload, "npy"),
    "numpy.fromfile": _canary,
    "joblib.load": _joblib,
    "gensim.models.KeyedVectors.load": partial(_payload, "pickle"),
    "semcentres.checkpoint.shutil.rmtree": _canary_folder,
    "centre_builders.artefact.write_file": lambda place: [_marker(place)],
    "centre_builders.artefact.write_json": lambda place: [_marker(place), {}],
    "centre_builders.import_vectors.main": lambda place: [
        [*_payload("pickle", place), f"{place}/out.bin", "--trust-pickle"]
    ],
}
KEYWORDS = {
    "torch.load": {"weights_only": False},
    "numpy.load": {"allow_pickle": True},
    "timeit.timeit": {"number": 1},
}
SHAPES: dict[str, Callable[[Component], Component]] = {
    "plain": lambda bad: bad,
    "partial": lambda bad: {**bad, "_partial_": True},
    "nested": lambda bad: {"_target_": "semcentres.encoder.small_conv", "width": {"deep": [bad]}},
    "in a list": lambda bad: {"_target_": "centre_builders.mix.Mix", "builders": [[bad]]},
    "interpolated": lambda bad: {**bad, "x": bad["_target_"], "_target_": "${x}"},
    "from the environment": lambda bad: {**bad, "_target_": "${oc.env:TORTURE_TARGET}"},
}
