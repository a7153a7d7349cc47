"""What a run was made with is compared, the differences are listed, and force says what it does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from centre_builders import build_bank
from centre_builders.artefact import MANIFEST
from centre_builders.errors import CorruptArtefact, InputError, UsageError
from centre_builders.json_files import sealed, unsealed
from centre_builders.one_hot import OneHot
from centre_builders.sealed import load_sealed, save_sealed
from semcentres.checkpoint import RunFolder
from semcentres.compose import compose_settings
from semcentres.data.files import FileSource, ImageFile
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import split_labels
from semcentres.data.split_file import check_unchanged, in_run_order, save_split
from semcentres.encoder import Encoder, small_conv
from semcentres.evaluating import evaluate
from semcentres.identity import check_force, check_same_config
from semcentres.interrupt import seconds_of
from semcentres.model import Model
from semcentres.settings import TrainConfig
from semcentres.training import train
from semcentres.weights import CENTRES, WEIGHTS, save_model

NAMES = ("cat", "dog", "eel")


def images(num: int, first: int) -> ImageSet:
    pixels = torch.arange(first, first + num)[:, None, None, None].expand(num, 1, 8, 8)
    return ImageSet(pixels.to(torch.uint8).contiguous(), torch.arange(num) % 3)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Data whose split a run folder holds."""
    found = Source("toy", NAMES, images(9, 0), images(6, 100))
    save_split(tmp_path, found, split_labels(found, labels_per_class=None))
    return found


def reordered(source: Source) -> Source:
    """The same images, the classes listed the other way round."""
    train, test = (replace(of, labels=2 - of.labels) for of in (source.train, source.test))
    return replace(source, class_names=NAMES[::-1], train=train, test=test)


def test_reordered_classes_are_taken_by_name(
    tmp_path: Path, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    found = check_unchanged(tmp_path, reordered(source))
    assert found.class_names == NAMES
    assert torch.equal(found.train.labels, source.train.labels)
    assert torch.equal(found.test.labels, source.test.labels)
    assert found.fingerprint == source.fingerprint
    assert "taken by name" in caplog.text


def test_reordered_classes_of_files_are_taken_by_name(tmp_path: Path, source: Source) -> None:
    del source  # its run folder is what is wanted
    files = tuple(ImageFile(Path(f"{label}.png"), f"{label}", label) for label in (0, 1, 2, -1))
    found = in_run_order(tmp_path, FileSource("toy", NAMES[::-1], files, files))
    assert found.class_names == NAMES
    assert [file.label for file in found.train] == [2, 1, 0, -1]


def test_other_classes_are_refused_even_by_force(tmp_path: Path, source: Source) -> None:
    other = replace(source, class_names=("cat", "dog", "fox"))
    with pytest.raises(InputError, match=r"classes added: 1 \(fox\); classes removed: 1 \(eel\)"):
        check_unchanged(tmp_path, other, ["data"])


def test_other_images_are_refused_unless_forced(
    tmp_path: Path, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    fewer = replace(source, test=images(5, 100))
    with pytest.raises(InputError, match=r"images removed: 1 .*force=\[data\]"):
        check_unchanged(tmp_path, fewer)
    assert check_unchanged(tmp_path, fewer, ["data"]) is fewer
    assert "images removed: 1" in caplog.text


def test_spoilt_split_file_is_named(tmp_path: Path, source: Source) -> None:
    (tmp_path / "split.json").write_text('{"fingerprint": "x", "class_names": []}')
    with pytest.raises(CorruptArtefact, match=r"split\.json is not a run's split"):
        check_unchanged(tmp_path, source)


def test_checkpoint_of_another_bank_is_taken_by_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path)
    run.save_checkpoint({"x": torch.ones(1)}, step=3, about={"bank": "a", "data": "d"})
    now = {"bank": "b", "data": "d"}
    with pytest.raises(InputError, match=r"bank: 'a' there, 'b' now.*force=\[bank\]"):
        run.newest_checkpoint(now)
    with pytest.raises(InputError, match="bank: 'a' there"):
        run.newest_checkpoint(now, ["data"])
    found = run.newest_checkpoint(now, ["bank"])
    assert found is not None
    assert found[0] == 3
    assert "bank: 'a' there, 'b' now (forced)" in caplog.text


def test_state_that_torch_cannot_read_leads_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its hash agrees: it was written so."""
    from centre_builders.artefact import write_folder

    run = RunFolder(tmp_path)
    run.save_checkpoint({"x": torch.ones(1)}, step=1, about={})
    with write_folder(run.checkpoints / "step-00000002", about={"step": 2}) as folder:
        (folder / "state.pt").write_bytes(b"no state")
    found = run.newest_checkpoint({})
    assert found is not None
    assert found[0] == 1
    assert "step-00000002" in caplog.text


def test_other_settings_are_refused_unless_forced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.yaml").write_text("seed: 0\nviews: {}\nencoder: {}\nobjective: {}\n")
    now = TrainConfig(views={}, encoder={}, objective={}, seed=1)
    now.data.source = None
    (tmp_path / "config.yaml").write_text(
        "seed: 0\nviews: {}\nencoder: {}\nobjective: {}\ndata: {source: null}\n"
    )
    with pytest.raises(UsageError, match=r"seed: 0 there, 1 now.*force=\[settings\]"):
        check_same_config(tmp_path, now)
    check_same_config(tmp_path, replace(now, force=["settings"], max_time="00:10:00"))
    assert "seed: 0 there, 1 now; forced" in caplog.text


def test_force_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="force=everything: there are settings, bank, data"):
        check_force(["bank", "everything"])


@pytest.mark.parametrize("text", ["5400", "1:00", "01:60:00", "00:00:00", "-1:00:00", "1h"])
def test_time_limit_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write HH:MM:SS"):
        seconds_of(text)


def test_weights_of_another_version_are_refused(tmp_path: Path) -> None:
    """Layers with other names: torch's own error does not say which file."""
    bank = build_bank(OneHot(), NAMES)
    encoder = Encoder(small_conv(channels=1, dimension=3, width=4), mean=[0.0], std=[1.0])
    component = {
        "_target_": "semcentres.encoder.small_conv", "_partial_": True, "width": 4,
    }  # fmt: skip
    save_model(
        tmp_path, encoder, component=component, bank=bank, images=images(1, 0).images, data="toy"
    )
    bank.save(tmp_path / CENTRES)
    Model.load(tmp_path)
    tensors, metadata, _ = load_sealed(tmp_path / WEIGHTS)
    save_sealed(tmp_path / WEIGHTS, {f"old.{k}": v for k, v in tensors.items()}, metadata)
    with pytest.raises(InputError, match=r"model\.safetensors: .* are not those of the encoder"):
        Model.load(tmp_path)


def test_evaluation_refuses_the_model_of_another_run(tmp_path: Path) -> None:
    """Copied here with its bank: whole, and not what this run has trained."""
    words = ["data=mnist_5k", "data.labels_per_class=4", "trainer.steps=1", "trainer.device=cpu"]
    words += ["trainer.labelled_batch=8", "trainer.unlabelled_batch=0"]
    for name, centres, width in (
        ("own", "one_hot", 4), ("bank", "random_orthogonal", 4), ("encoder", "one_hot", 8),
    ):  # fmt: skip
        own = [f"centres={centres}", f"encoder.width={width}", f"run_dir={tmp_path / name}"]
        train(compose_settings("train", [*words, *own]))
    asked = compose_settings("evaluate", [f"run_dir={tmp_path / 'own'}"])
    for other, told in {
        "bank": r"another run's \(bank: \w{12} in model.safetensors, \w{12} in checkpoints\)",
        "encoder": r"another run's \(encoder.width: 8 in model.safetensors, 4 in config.yaml\)",
    }.items():
        for file in (WEIGHTS, CENTRES):
            shutil.copy(tmp_path / other / file, tmp_path / "own")
        with pytest.raises(InputError, match=told):
            evaluate(asked)
    path = RunFolder(tmp_path / "own").steps()[-1] / MANIFEST
    manifest = unsealed(json.loads(path.read_text()))
    del manifest["about"]["bank"]
    path.write_text(json.dumps(sealed(manifest)))
    with pytest.raises(CorruptArtefact, match="is not a checkpoint's manifest"):
        evaluate(asked)
