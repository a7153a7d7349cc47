"""`semcentres export`: a run's model as one folder for others, checked before it is there.

model.onnx, .pt2, .pt or .safetensors    images to embeddings, cosines and squared distances
centres.safetensors                      the bank
bundle.json                              class names, what goes in and comes out, how far it is off
README.md, report/                       model card and pictures without images of the data
config.yaml, metrics.json                of format=safetensors: settings and results, without paths
MANIFEST.json                            a hash of each file
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from centre_builders.artefact import write_file, write_folder, write_json
from centre_builders.errors import InputError, NumericError, UsageError
from centre_builders.json_files import read_sealed
from semcentres.bundle_card import bundle_card
from semcentres.checkpoint import Results
from semcentres.compose import load_config
from semcentres.deployed import FORMATS, OUTPUTS, Deployed, Layout, Runner
from semcentres.hub import push_to_hub
from semcentres.model import Model
from semcentres.recipe import make_source
from semcentres.settings import ExportConfig, TrainConfig
from semcentres.weights import CENTRES, WEIGHTS

log = logging.getLogger(__name__)

SAFETENSORS = "safetensors"
ABOUT = "bundle.json"
PICTURES = ("report/gram.png", "report/confusion.png")  # the gallery shows images of the data


@dataclass(frozen=True)
class Bundle:
    """A folder that was written.

    Args:
        folder: where it is.
        about: what its bundle.json holds.
        address: where it was pushed to; None where it was not.
    """

    folder: Path
    about: Mapping[str, Any]
    address: str | None


def export(config: ExportConfig) -> Bundle:
    """Write a run's model as a bundle, after comparing it with the run's own on real images.

    Raises:
        NumericError: outputs are further apart than the tolerance; nothing is written.
        InputError: the run is not finished, or its encoder cannot be written in this format.
        UsageError: no such format or layout; `out` holds something else; pushing a bundle that
            `semcentres.load` could not open.
    """
    out = _checked(config)
    if config.format == SAFETENSORS:
        config = replace(config, layout=Layout.NCHW)  # as `Model` takes them
    run = Path(config.run_dir)
    trained, model, results = load_config(run / "config.yaml"), Model.load(run), _results(run)
    images = _real_images(trained, config)
    deployed = Deployed(model.encoder, torch.from_numpy(model.bank.vectors), Layout(config.layout))
    with write_folder(out, about={"format": config.format, "model": model.fingerprint}) as folder:
        log.info("writing %s", config.format)
        shutil.copy2(run / CENTRES, folder / CENTRES)
        runner = _write(run, folder, config, deployed, images)
        about = {
            **_describe(model, deployed, images, config),
            "verification": _compare(deployed, runner, images, config.tolerance),
        }
        (folder / "report").mkdir()
        shown = [name for name in PICTURES if (run / name).is_file()]
        for name in shown:
            shutil.copy2(run / name, folder / name)
        name = config.push_to or out.name
        told = replace(
            trained, encoder=_named(trained.encoder), objective=_named(trained.objective)
        )
        card = bundle_card(results, told, about, name=name, pictures=shown)
        write_file(folder / "README.md", card.encode())
        if config.format == SAFETENSORS:
            _settings(folder, trained, results)
        write_json(folder / ABOUT, about)
    address = push_to_hub(out, config.push_to) if config.push_to else None
    return Bundle(out, about, address)


def _checked(config: ExportConfig) -> Path:
    formats = (*FORMATS, SAFETENSORS)
    if config.format not in formats:
        raise UsageError(f"format={config.format}: there are {', '.join(formats)}")
    if config.format in FORMATS and (missing := FORMATS[config.format].missing()):
        raise InputError(
            f"format={config.format} needs {' and '.join(missing)}:"
            " pip install 'semcentres[export]'"
        )
    if config.layout not in list(Layout):
        raise UsageError(f"layout={config.layout}: there are {', '.join(Layout)}")
    if config.push_to and config.format != SAFETENSORS:
        raise UsageError("push_to needs format=safetensors, which semcentres.load can open")
    out = Path(config.out or Path(config.run_dir) / "export" / config.format)
    if out.exists() and not (out / ABOUT).is_file() and (out.is_file() or any(out.iterdir())):
        raise UsageError(f"out={out} holds something else than a bundle; name a new folder")
    return out


def _results(run: Path) -> Results:
    path = run / "metrics.json"
    if not path.is_file():
        raise InputError(f"{run} has no results; end its training, or semcentres evaluate it")
    return read_sealed(path, "a run's results")


def _real_images(trained: TrainConfig, config: ExportConfig) -> np.ndarray:
    """Return evenly spaced test images in the bundle's layout."""
    held = make_source(trained.data).test.images
    if not config.num_images >= 2:
        raise UsageError(f"num_images={config.num_images}: at least 2, for batches of two sizes")
    rows = torch.linspace(0, len(held) - 1, min(config.num_images, len(held))).long()
    images = held[rows]
    if images.ndim == 4 and config.layout == Layout.NHWC:
        images = images.permute(0, 2, 3, 1)
    return images.contiguous().numpy()


def _write(
    run: Path, folder: Path, config: ExportConfig, deployed: Deployed, images: np.ndarray
) -> Runner:
    """Write the model and return it as it is read back."""
    if config.format == SAFETENSORS:
        shutil.copy2(run / WEIGHTS, folder / WEIGHTS)
        read = Model.load(folder)
        return Deployed(read.encoder, torch.from_numpy(read.bank.vectors), deployed.layout).run
    chosen = FORMATS[config.format]
    path = folder / chosen.file
    try:
        chosen.write(deployed, torch.from_numpy(images[:2]), path)
    except RuntimeError as error:
        # Of both exporters' errors the base, and their texts are pages long.
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"this encoder cannot be written as {config.format} ({reason});"
            f" try format={' or '.join(name for name in FORMATS if name != config.format)}"
        ) from error
    return chosen.read(path)


def _compare(
    deployed: Deployed, runner: Runner, images: np.ndarray, tolerance: float
) -> dict[str, Any]:
    """Return how far a bundle's outputs are from the run's own, in batches of two sizes.

    Raises:
        NumericError: further than the tolerance.
    """
    wanted = deployed.run(images)
    parts = [runner(part) for part in (images[:1], images[1:])]
    given = [np.concatenate(both) for both in zip(*parts, strict=True)]
    apart = {
        name: float(np.abs(ours - theirs).max())
        for name, ours, theirs in zip(OUTPUTS, wanted, given, strict=True)
    }
    # Not >: a difference that is not a number must be refused too.
    wrong = [name for name in OUTPUTS if not apart[name] <= tolerance]
    if wrong:
        raise NumericError(
            f"the bundle's {wrong[0]} differ by up to {apart[wrong[0]]:.2g} from the run's own on"
            f" {len(images)} images, more than tolerance={tolerance}; nothing is written"
        )
    changed = int((wanted[1].argmax(axis=1) != given[1].argmax(axis=1)).sum())
    return {
        "images": len(images),
        "tolerance": tolerance,
        "max_difference": apart,
        "other_nearest_class": changed,
    }


def _describe(
    model: Model, deployed: Deployed, images: np.ndarray, config: ExportConfig
) -> dict[str, Any]:
    """Return what a user of the bundle must know to feed and read it."""
    pictures, side = images.ndim == 4, deployed.encoder.size
    resized = [] if side is None else [f"resize to {side} x {side} pixels, bilinear, antialiased"]
    steps = ["scale from 0..255 to 0..1", *resized] if pictures else []
    num, width = model.bank.vectors.shape
    return {
        "format": config.format,
        "file": WEIGHTS if config.format == SAFETENSORS else FORMATS[config.format].file,
        "model": model.fingerprint,
        "bank": model.bank.fingerprint,
        "data": model.about["data"],
        "class_names": list(model.bank.names),
        "input": {
            "name": "images",
            "layout": config.layout if pictures else "columns",
            "dtype": str(images.dtype),
            "shape": ["N", *images.shape[1:]],
            "done_within": [*steps, "normalise", "encode", "scale to length 1"],
            "done_before": ["crop to this shape's aspect and resize to it"] if pictures else [],
        },
        "outputs": dict(zip(OUTPUTS, (["N", width], ["N", num], ["N", num]), strict=True)),
        "calibration": model.about.get("calibration"),
        "versions": {name: version(name) for name in ("semcentres", "torch")},
    }


def _settings(folder: Path, trained: TrainConfig, results: Results) -> None:
    """Write what the run was made with and what was measured, without paths of this machine."""
    settings = _without_paths({**asdict(trained), "run_dir": None})
    write_file(folder / "config.yaml", yaml.safe_dump(settings).encode())
    write_json(folder / "metrics.json", {**results, "origin": ""})


def _named(component: Mapping[str, Any]) -> dict[str, Any]:
    """Return a component whose files are called by their names alone."""
    return {key: Path(v).name if _is_path(v) else v for key, v in component.items()}


def _is_path(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str) and value.startswith(("/", "~"))


def _without_paths(node: Any) -> Any:  # noqa: ANN401
    if isinstance(node, Mapping):
        return {key: _without_paths(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_paths(value) for value in node]
    return None if _is_path(node) else node
