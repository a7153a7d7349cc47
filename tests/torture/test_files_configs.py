"""Configurations from strangers: compared and refused, never run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from centre_builders.errors import CorruptArtefact, UsageError
from semcentres.cli import main
from semcentres.components import allowed, build
from semcentres.compose import check_words, compose_settings, load_config

# Ours, and still not to be called by a configuration: they write, fetch or train.
OURS = [
    "centre_builders.artefact.write_file",
    "centre_builders.artefact.write_json",
    "centre_builders.import_vectors.main",
    "centre_builders.word_vectors.read_vectors",
    "semcentres.cli.main",
    "semcentres.verbs.train",
    "semcentres.data.npm.read_package",
    "semcentres.backbones.read_weights",
    "semcentres.hub.push_to_hub",
]
SMALL = "semcentres.encoder.small_conv"


@pytest.mark.parametrize("target", OURS)
def test_functions_that_are_no_components_are_refused(target: str, tmp_path: Path) -> None:
    component = {"_target_": target, "_args_": [str(tmp_path / "marker"), "x"]}
    with pytest.raises(UsageError, match=f"{target!r} is refused; there are .*{SMALL}"):
        build(component)
    assert not (tmp_path / "marker").exists()


def test_a_group_takes_its_own_targets_alone() -> None:
    assert SMALL in allowed("encoder")
    assert allowed("encoder") < allowed()
    build({"_target_": SMALL, "_partial_": True}, "encoder")
    with pytest.raises(UsageError, match=r"folder\.folder' is refused; there are semcentres"):
        build({"_target_": "semcentres.data.folder.folder", "root": "/nowhere"}, "encoder")


@pytest.mark.parametrize(
    "component",
    [
        {"_target_": "${oc.env:HOME}"},
        {"_target_": SMALL, "_partial_": True, "width": "${oc.env:HOME}"},
        {"_target_": SMALL, "_partial_": True, "width": [{"${x}": 1}]},
    ],
)
def test_interpolations_are_refused(component: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"'\$\{.*\}' is refused"):
        build(component)


# Eight lines that are 6,561 entries once they are copied.
BOMB = "a: &a [1]\n" + "".join(
    f"{chr(i + 1)}: &{chr(i + 1)} [*{chr(i)}, *{chr(i)}, *{chr(i)}]\n" for i in range(97, 105)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "uses a YAML alias"),
        ("run_dir: ${oc.env:HOME}\n", r"'\$\{oc\.env:HOME\}' is an interpolation"),
        ("data: {source: {root: '${oc.decode:x}'}}\n", "is an interpolation"),
        ("x: !!python/object/apply:os.mkdir [a]\n", "ConstructorError"),
        ("[" * 5000, "RecursionError|ParserError"),
        ("seed: many\n", "seed"),
        ("- 1\n", "is not a run's configuration"),
        ("\x00", "is not a run's configuration"),
    ],
)
def test_configurations_of_runs_are_plain(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(CorruptArtefact, match=said) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_plain_configuration_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    written = compose_settings("train", ["seed=5"])
    path.write_text(yaml.safe_dump(asdict(written)))
    assert load_config(path) == written


@pytest.mark.parametrize(
    "word",
    [
        "+hydra.callbacks.x._target_=os.mkdir",
        "hydra.callbacks={x: {_target_: os.mkdir}}",
        "hydra.callbacks.x=${encoder}",
        "hydra.searchpath=[file:///tmp/theirs]",
        "--experimental-rerun=config.pickle",
        "--config-dir=/tmp/theirs",
        "-cd",
    ],
)
def test_words_by_which_hydra_would_call_are_refused(word: str) -> None:
    with pytest.raises(UsageError, match="is refused"):
        check_words(["seed=0,1", "-m", word])


def test_words_of_a_sweep_are_taken() -> None:
    check_words(["-m", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "+a.b=1"])


def test_a_sweep_that_would_call_is_refused_by_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    words = ["-m", "+hydra.callbacks.x._target_=os.mkdir", f"+hydra.callbacks.x.path={marker}"]
    assert main(["centres", *words]) == 2
    assert "is refused: of Hydra a sweep takes choices" in capfd.readouterr().err
    assert not marker.exists()
