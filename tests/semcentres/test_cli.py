"""The command from outside: its help, its verbs, and one line for every mistake."""

import dataclasses
import inspect
import json
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

import semcentres
from centre_builders.bank import CentreBank
from centre_builders.embedded import read_embedded
from centre_builders.errors import CorruptArtefact
from semcentres.checkpoint import RunFolder
from semcentres.cli import main
from semcentres.compose import defaults, load_config
from semcentres.data import split_file
from semcentres.model import Model
from semcentres.settings import SCHEMAS
from semcentres.training import read_results

SMALL = [
    "data=mnist_5k", "encoder.width=4", "trainer.steps=40", "trainer.learning_rate=0.02",
    "trainer.warmup_steps=5", "trainer.labelled_batch=16",
    "trainer.unlabelled_batch=16", "trainer.log_every=10", "trainer.device=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by the command, which other tests evaluate."""
    place = tmp_path_factory.mktemp("runs") / "digits"
    assert (
        main(["train", *SMALL, "centres=one_hot", "data.validation=500", f"run_dir={place}"]) == 0
    )
    return place


def test_no_module_hides_a_function_of_the_package() -> None:
    """Importing `semcentres.x` makes it the package's attribute x, whatever that was before."""
    modules = {module.name for module in pkgutil.iter_modules(semcentres.__path__)}
    functions = {name for name, value in vars(semcentres).items() if inspect.isfunction(value)}
    assert "train" in functions
    assert not modules & functions


def test_help_answers_at_once() -> None:
    """Nothing heavy is imported for it; a timing would depend on the machine, modules do not."""
    code = (
        "import sys; from semcentres.cli import main; main(['--help']);"
        "print(sorted({'torch','faiss','lightning_fabric','hydra','numpy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.endswith("[]\n")
    assert "semcentres train" in out.stdout


def test_restart_takes_other_settings_and_loses_nothing_when_it_is_refused(tmp_path: Path) -> None:
    words = ["train", *SMALL, "centres=one_hot", f"run_dir={tmp_path / 'run'}"]
    assert main([*words, "trainer.steps=2"]) == 0
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert main([*words, "restart=true", "objective.temperature=9"]) != 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert main([*words, "restart=true", "trainer.steps=3"]) == 0
    results = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert results["steps"] == 3


@pytest.mark.parametrize("verb", SCHEMAS)
def test_help_of_a_verb_is_its_configuration_with_meanings(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*(["data"] if verb == "check" else []), verb, "--help"]) == 0
    head, _, keys = capsys.readouterr().out.partition("keys and their values:\n")
    assert yaml.safe_load(keys) == OmegaConf.to_container(defaults(verb))
    for field in dataclasses.fields(SCHEMAS[verb]):
        if not dataclasses.is_dataclass(field.type):
            assert re.search(rf"^{field.name}:.*  # \S", keys, re.MULTILINE), field.name
    assert ("  method: " in head) == (verb == "train")


def test_run_folder_holds_everything(run_dir: Path) -> None:
    for name in (
        "config.yaml", "centres.safetensors", "model.safetensors", "metrics.jsonl",
        "metrics.json", "README.md", "index/MANIFEST.json", "report/gram.png",
        "report/confusion.png", "report/gallery.png", "report/map.png", "report/curves.png",
    ):  # fmt: skip
        assert (run_dir / name).is_file(), name
    assert len(list((run_dir / "checkpoints").iterdir())) == 1
    results = json.loads((run_dir / "metrics.json").read_text())
    assert results["num_images"] == 1000
    assert results["nearest_centre_accuracy"] > 0.15


@pytest.mark.parametrize("name", ["config.yaml", "split.json", "metrics.json"])
def test_every_byte_of_a_run_folders_texts_is_guarded(
    run_dir: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed one is refused, or is the same but for its hash."""
    run = RunFolder(Path(shutil.copytree(run_dir, tmp_path / "run")))
    read: dict[str, Callable[[], Any]] = {
        "config.yaml": lambda: vars(load_config(run.path / name)),
        "split.json": lambda: split_file._read(run.path),
        "metrics.json": lambda: read_results(run),
    }
    content, wanted = (run.path / name).read_bytes(), read[name]()
    places, refused = range(0, len(content), max(1, len(content) // 400)), 0
    for place in places:
        (run.path / name).write_bytes(
            content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        )
        try:
            got = read[name]()
        except CorruptArtefact as error:
            refused += name in str(error)
        else:
            assert got | wanted == got
    assert refused > 0.9 * len(places)


def test_finished_run_is_not_trained_again(run_dir: Path) -> None:
    before = (run_dir / "model.safetensors").stat().st_mtime_ns
    words = ["train", *SMALL, "centres=one_hot", "data.validation=500", f"run_dir={run_dir}"]
    assert main(words) == 0
    assert (run_dir / "model.safetensors").stat().st_mtime_ns == before


def test_evaluate_gives_the_same_numbers(run_dir: Path) -> None:
    first = json.loads((run_dir / "metrics.json").read_text())
    assert main(["evaluate", f"run_dir={run_dir}"]) == 0
    assert json.loads((run_dir / "metrics.json").read_text()) == first


def test_embed_writes_rows_in_order(run_dir: Path, tmp_path: Path) -> None:
    assert main(["embed", f"run_dir={run_dir}", "split=validation", f"out={tmp_path / 'e'}"]) == 0
    found = read_embedded(tmp_path / "e")
    embeddings = found.vectors
    assert embeddings.shape == (500, 64)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert len(np.unique(found.items["id"].to_numpy())) == 500


def test_training_goes_on_from_another_runs_encoder(run_dir: Path, tmp_path: Path) -> None:
    """With the last layer learning alone, the features are the other run's to the last bit."""
    more = ["centres=random_orthogonal", "trainer.steps=3", "trainer.learn=last"]
    begun = [f"start_from={run_dir}", f"run_dir={tmp_path / 'probe'}"]
    assert main(["train", *SMALL, *more, *begun]) == 0
    old, new = (Model.load(p).encoder.state_dict() for p in (run_dir, tmp_path / "probe"))
    changed = [name for name in old if not torch.equal(old[name], new[name])]
    assert changed == ["backbone.10.weight", "backbone.10.bias"]


def test_doctor_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert 8 <= len(out.splitlines()) <= 12
    assert "faiss" in out


def names(*classes: str) -> str:
    return f"names=[{','.join(classes)}]"


MISTAKES = {
    "unknown class name": (
        ["centres", "centres=word2vec", names("cat", "qzxqzx")],
        3, ["qzxqzx", "centres=sentence"],
    ),
    "duplicate names": (["centres", "centres=one_hot", names("cat", "Cat")], 3, ["cat", "Cat"]),
    "names that YAML turned into something else": (
        ["centres", "centres=one_hot", names("true", "cat")], 3, ["quote"],
    ),
    "empty class file": (["centres", "names_file={tmp}/empty.txt"], 3, ["empty.txt"]),
    "folder to write to within a file": (
        ["embed", "run_dir={run}", "out={tmp}/empty.txt/x"], 3, ["empty.txt", "Not a directory"],
    ),
    "missing class file": (["centres", "names_file={tmp}/gone.txt"], 3, ["gone.txt"]),
    "missing data": (["train", "data=folder", "data.root={tmp}/gone"], 3, ["gone", "data.root"]),
    "K > d for one-hot": (
        ["centres", "centres=one_hot", "centres.dimension=2", names("a", "b", "c")],
        2, ["3", "2", "centres.dimension"],
    ),
    "no dimension at all": (
        ["centres", "centres=one_hot", "centres.dimension=0", names("a", "b")], 2, ["dimension"],
    ),
    "temperature above the safe one": (
        ["train", *SMALL, "centres=word2vec", "objective.temperature=3.0", "run_dir={tmp}/r"],
        3, ["objective.temperature=3.0", "force_temperature=true"],
    ),
    "corrupt bank": (
        ["train", *SMALL, "centres=bank", "centres.bank={tmp}/bad.safetensors", "run_dir={tmp}/r"],
        3, ["bad.safetensors"],
    ),
    "missing bank": (
        ["train", *SMALL, "centres=bank", "centres.bank={tmp}/gone.safetensors", "run_dir={tmp}/r"],
        3, ["gone.safetensors", "semcentres centres"],
    ),
    "bank of other names": (
        ["train", *SMALL, "centres=bank", "centres.bank={tmp}/animals.safetensors",
         "run_dir={tmp}/r"],
        3, ["'zero'", "animals.safetensors"],
    ),
    "wrong dimension of a bank": (
        ["evaluate", "run_dir={run}", "bank={tmp}/digits8.safetensors"],
        3, ["64", "10", "centres.dimension=64"],
    ),
    "no run folder": (["evaluate", "run_dir={tmp}"], 3, ["config.yaml", "train"]),
    "run folder of other settings": (
        ["train", *SMALL, "centres=one_hot", "seed=5", "run_dir={run}"], 2,
        ["seed: 0 there, 5 now", "restart=true"],
    ),
    "too few labels": (
        ["train", *SMALL, "centres=one_hot", "data.labels_per_class=5000", "run_dir={tmp}/r"],
        3, ["'zero'", "data.labels_per_class"],
    ),
    "start from another shape": (
        ["train", *SMALL, "centres=one_hot", "encoder.width=8", "start_from={run}",
         "run_dir={tmp}/r"],
        3, ["another shape", "encoder"],
    ),
    "unknown way to learn": (
        ["train", *SMALL, "centres=one_hot", "trainer.learn=first", "run_dir={tmp}/r"],
        2, ["trainer.learn=first", "all, last"],
    ),
    "bank and names": (
        ["centres", "bank={tmp}/animals.safetensors", names("a", "b"), "out={tmp}/x.safetensors"],
        2, ["animals.safetensors", "leave out names"],
    ),
    "bank and audit": (
        ["centres", "bank={tmp}/animals.safetensors", "audit=true"], 2, ["leave out audit"],
    ),
    "rename that is no mapping": (
        ["centres", "bank={tmp}/animals.safetensors", "rename=[cat]", "out={tmp}/x.safetensors"],
        2, ["rename", "mapping"],
    ),
    "number as a new name": (
        ["centres", "bank={tmp}/animals.safetensors", "add=[7]", "out={tmp}/x.safetensors"],
        3, ["class 0 is 7", "quote it"],
    ),
    "wrong verb": (["fit"], 2, ["fit", "train"]),
    "wrong key": (["train", "trainer.step=3"], 2, ["trainer.steps"]),
    "wrong group": (["train", "centres=glove"], 2, ["one_hot"]),
    "wrong split": (["embed", "run_dir={run}", "split=dev"], 2, ["validation"]),
    "foreign target": (["train", "encoder._target_=os.system"], 2, ["os.system"]),
}  # fmt: skip


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    (tmp_path / "empty.txt").write_text("\n \n")
    assert (
        main(
            [
                "centres",
                "centres=one_hot",
                names("cat", "dog"),
                f"out={tmp_path}/animals.safetensors",
            ]
        )
        == 0
    )
    small = ["centres.dimension=10", f"out={tmp_path}/digits8.safetensors", "data=mnist_5k"]
    assert main(["centres", "centres=one_hot", *small]) == 0
    content = bytearray((tmp_path / "animals.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_one_line(
    mistake: str, prepared: Path, run_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words, code, said = MISTAKES[mistake]
    capfd.readouterr()
    assert main([word.format(tmp=prepared, run=run_dir) for word in words]) == code
    *_, line = capfd.readouterr().err.splitlines()
    assert line.startswith("semcentres: ")
    for part in said:
        assert part in line, line
    assert "Traceback" not in line


def test_bank_changes_by_words(tmp_path: Path) -> None:
    """Rename and descriptions are mappings, which Hydra must let in."""
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    described = "centres.descriptions={crane: a tall bird}"
    assert (
        main(["centres", "centres=word2vec", names("cat", "dog", "crane"), described, f"out={old}"])
        == 0
    )
    words = ["rename={cat: kitten}", "retire=[dog]", "add=[jaguar]"]
    told = "centres.descriptions={jaguar: a fast car}"
    assert main(["centres", f"bank={old}", *words, told, f"out={new}"]) == 0
    bank = CentreBank.load(new)
    assert bank.names == ("kitten", "crane", "jaguar")
    assert bank.texts == ("cat", "a tall bird", "a fast car")
    assert main(["centres", f"bank={new}", "rename={crane: 'house [/b]'}", f"out={old}"]) == 0


def test_audit_knows_the_datas_own_hierarchy(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit=true", "centres=own_hierarchy", "data=fashion_mnist"]
    assert main(["centres", *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "safe to train"
