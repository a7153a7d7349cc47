"""Bundles: every format gives what the run gives, and says how far it is off."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

import semcentres
from centre_builders.artefact import verify_folder
from centre_builders.errors import CorruptArtefact, InputError, NumericError, UsageError
from semcentres import bundle, deployed
from semcentres.cli import main
from semcentres.data.mnist_5k import mnist_5k
from semcentres.deployed import FORMATS, Deployed, Format, Layout
from semcentres.encoder import Encoder
from semcentres.model import Model

NAMES = ("even", "odd")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on a folder of 40 PNGs."""
    place = tmp_path_factory.mktemp("bundle")
    digits = mnist_5k().train
    for number in range(0, 4000, 100):
        folder = place / "pictures" / NAMES[int(digits.labels[number]) % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[number, 0].numpy()).save(folder / f"{number}.png")
    save_file(models.get_model("shufflenet_v2_x0_5").state_dict(), place / "donor.safetensors")
    words = [
        "data=folder", f"data.root={place / 'pictures'}", "data.source.size=20",
        "data.labels_per_class=5", "centres=random_orthogonal", "centres.dimension=6",
        "encoder=torchvision", "encoder.name=shufflenet_v2_x0_5", "encoder.size=32",
        f"encoder.weights={place / 'donor.safetensors'}",
        "trainer.steps=3", "trainer.labelled_batch=8", "trainer.unlabelled_batch=8",
        "trainer.device=cpu", f"run_dir={place / 'run'}",
    ]  # fmt: skip
    assert main(["train", *words]) == 0
    return place / "run"


@pytest.fixture(scope="module")
def onnx(run: Path) -> Path:
    assert main(["export", f"run_dir={run}", f"out={run.parent / 'onnx'}"]) == 0
    return run.parent / "onnx"


@pytest.fixture(scope="module")
def shared(run: Path) -> Path:
    out = run.parent / "shared"
    assert main(["export", f"run_dir={run}", "format=safetensors", f"out={out}"]) == 0
    return out


def images(num: int, layout: str) -> np.ndarray:
    shape = (num, 20, 20, 3) if layout == "nhwc" else (num, 3, 20, 20)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def wanted(run: Path, given: np.ndarray, layout: str) -> tuple[np.ndarray, ...]:
    """What a bundle must give, by numpy alone but for the embeddings."""
    model = Model.load(run)
    axes = (0, 3, 1, 2) if layout == "nhwc" else (0, 1, 2, 3)
    z = model.embed(torch.from_numpy(given.transpose(axes).copy()))
    cosines = z @ model.bank.vectors.T
    return z, cosines, ((z[:, None] - model.bank.vectors[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize("num", [1, 5])
def test_onnx_gives_what_the_run_gives(run: Path, onnx: Path, num: int) -> None:
    import onnxruntime

    given = images(num, "nhwc")
    session = onnxruntime.InferenceSession(onnx / "model.onnx")
    found = session.run(None, {"images": given})
    for output, expected in zip(found, wanted(run, given, "nhwc"), strict=True):
        np.testing.assert_allclose(output, expected, atol=2e-5)
    assert [part.name for part in session.get_outputs()] == list(deployed.OUTPUTS)


@pytest.mark.parametrize("kind", ["pt2", "torchscript"])
def test_torch_formats_give_what_the_run_gives(run: Path, kind: str, tmp_path: Path) -> None:
    out = tmp_path / kind
    out.mkdir()  # where nothing is lost
    words = [f"run_dir={run}", f"format={kind}", "layout=nchw", f"out={out}"]
    assert main(["export", *words]) == 0
    runner = FORMATS[kind].read(out / FORMATS[kind].file)
    for num in (1, 5):
        given = images(num, "nchw")
        for output, expected in zip(runner(given), wanted(run, given, "nchw"), strict=True):
            np.testing.assert_allclose(output, expected, atol=2e-5)


def test_bundle_says_what_it_is(run: Path, onnx: Path) -> None:
    about = json.loads((onnx / "bundle.json").read_text())
    assert about["class_names"] == list(NAMES)
    assert about["input"]["shape"] == ["N", 20, 20, 3]
    assert "resize to 32 x 32 pixels, bilinear, antialiased" in about["input"]["done_within"]
    checked = about["verification"]
    assert checked["images"] == 8
    assert set(checked["max_difference"]) == set(deployed.OUTPUTS)
    assert all(apart <= checked["tolerance"] for apart in checked["max_difference"].values())
    assert verify_folder(onnx)["about"]["model"] == Model.load(run).fingerprint
    card = (onnx / "README.md").read_text()
    assert "`model.onnx` takes `images` (uint8, nhwc, N x 20 x 20 x 3)" in card
    assert str(run.parent) not in card


def test_example_of_the_documentation_runs(run: Path, onnx: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "export.md"
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        if "onnxruntime" in block
    )
    place = run.parent / "elsewhere"
    place.mkdir()
    (place / "bundle").symlink_to(onnx)
    picture = next((run.parent / "pictures" / "odd").iterdir())
    (place / "query.png").write_bytes(picture.read_bytes())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=place, capture_output=True, text=True, check=True,
    )  # fmt: skip
    name, cosine = done.stdout.split()
    # Of the same file as the training's reader decodes it.
    pixels = np.asarray(
        Image.open(picture).convert("RGB").resize((20, 20), Image.Resampling.BICUBIC)
    )
    _, cosines, _ = wanted(run, pixels[None], "nhwc")
    assert name == NAMES[cosines[0].argmax()]
    assert float(cosine) == pytest.approx(float(cosines[0].max()), abs=1e-3)


def test_shared_folder_loads_and_names_no_path(run: Path, shared: Path) -> None:
    given = torch.from_numpy(images(5, "nchw"))
    np.testing.assert_array_equal(
        semcentres.load(shared).embed(given), semcentres.load(run).embed(given)
    )
    for file in shared.rglob("*"):
        if file.suffix in (".json", ".yaml", ".md", ".safetensors"):
            assert str(run.parent).encode() not in file.read_bytes(), file
    assert not (shared / "report" / "gallery.png").exists()
    assert yaml.safe_load((shared / "config.yaml").read_text())["trainer"]["steps"] == 3


def test_shared_folder_says_that_it_takes_what_the_model_takes(shared: Path) -> None:
    given = json.loads((shared / "bundle.json").read_text())["input"]
    assert (given["layout"], given["shape"]) == ("nchw", ["N", 3, 20, 20])


def test_card_has_front_matter_labels_and_seed(run: Path, shared: Path) -> None:
    results = json.loads((run / "metrics.json").read_text())
    _, front, body = (shared / "README.md").read_text().split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["library_name"] == "semcentres"
    (measured,) = head["model-index"][0]["results"]
    accuracy = measured["metrics"][0]
    assert accuracy["type"] == "nearest_centre_accuracy"
    assert accuracy["value"] == pytest.approx(results["nearest_centre_accuracy"], abs=1e-4)
    assert accuracy["args"] == {"seed": 0}
    assert "labels used: 5 a class, chosen by seed 0" in body
    assert "## Limits" in body
    pictures = re.findall(r"\]\((report/.*?)\)", body)
    assert pictures == ["report/gram.png", "report/confusion.png"]
    assert all((shared / picture).is_file() for picture in pictures)


def cached(shared: Path, cache: Path) -> Path:
    """Put a bundle where huggingface_hub keeps what it has fetched."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = cache / "models--org--digits"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for file in shared.iterdir():
        if file.is_file():
            (snapshot / file.name).write_bytes(file.read_bytes())
    return snapshot


def test_loads_from_the_hubs_cache(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    snapshot = cached(shared, tmp_path)
    for name in ("org/digits", f"org/digits@{snapshot.name}"):
        assert semcentres.load(name).fingerprint == semcentres.load(shared).fingerprint
    for name in ("org/none", f"org/digits@{'f' * 40}"):
        with pytest.raises(InputError, match=f"^{name} is no folder here, and the hub"):
            semcentres.load(name)
    (tmp_path / "org").mkdir()
    with pytest.raises(InputError, match=r"^org/digts holds no model\.safetensors"):
        semcentres.load("org/digts")  # a slip, which nobody else is asked about
    (tmp_path / "org").rmdir()
    damaged = bytearray((snapshot / "model.safetensors").read_bytes())
    damaged[-5] ^= 1
    (snapshot / "model.safetensors").write_bytes(damaged)
    with pytest.raises(CorruptArtefact, match="differs from the SHA-256"):
        semcentres.load("org/digits")


def test_pushing_offline_keeps_the_bundle_and_says_so(
    run: Path, onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    words = ["format=safetensors", f"out={tmp_path / 'out'}", "push_to=org/digits"]
    assert main(["export", f"run_dir={run}", *words]) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert "is whole but was not pushed to org/digits" in said
    assert "hf auth login" in said
    assert semcentres.load(tmp_path / "out").bank.names == NAMES
    assert 'semcentres.load("org/digits")' in (tmp_path / "out" / "README.md").read_text()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody there
    with pytest.raises(InputError, match="is whole but was not pushed to org/digits"):
        semcentres.push_to_hub(tmp_path / "out", "org/digits")
    with pytest.raises(InputError, match="no bundle of format=safetensors"):
        semcentres.push_to_hub(onnx, "org/digits")
    (tmp_path / "out" / "README.md").write_text("changed")
    with pytest.raises(CorruptArtefact, match="README.md differs"):
        semcentres.push_to_hub(tmp_path / "out", "org/digits")


@pytest.mark.parametrize("error", [1e-3, np.nan])
def test_bundle_that_is_off_is_not_written(
    run: Path, error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(path: Path) -> deployed.Runner:
        runner = FORMATS["torchscript"].read(path)
        # The last output alone: none of the three may hide another.
        return lambda given: [*runner(given)[:2], runner(given)[2] + np.float32(error)]

    monkeypatch.setitem(FORMATS, "off", Format("model.pt", FORMATS["torchscript"].write, off))
    words = [f"run_dir={run}", "format=off", f"out={tmp_path / 'out'}"]
    with pytest.raises(NumericError, match=r"differ by up to .* on 8 images, more than tolerance"):
        semcentres.export(*words)
    assert list(tmp_path.iterdir()) == []
    if error < 1:
        found = semcentres.export(*words, "tolerance=0.01").about["verification"]
        assert found["max_difference"]["squared_distances"] == pytest.approx(error, rel=0.01)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["format=tflite"], "there are onnx, pt2, torchscript, safetensors"),
        (["layout=hwcn"], "there are nhwc, nchw"),
        (["push_to=org/x"], "push_to needs format=safetensors"),
        (["out={tmp}"], "holds something else than a bundle"),
        (["num_images=1", "out={tmp}/new"], "at least 2"),
    ],
)
def test_usage(run: Path, words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=re.escape(said)):
        semcentres.export(f"run_dir={run}", *(word.format(tmp=tmp_path) for word in words))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_missing_extra_is_told_before_anything_is_read(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Format("model.onnx", deployed.write_onnx, deployed.read_onnx, ("torch", "no_onnx"))
    monkeypatch.setitem(FORMATS, "onnx", unknown)
    monkeypatch.setattr(bundle, "load_config", None)
    with pytest.raises(InputError, match="needs no_onnx: pip install 'semcentres"):
        semcentres.export(f"run_dir={run}", "format=onnx")


def test_encoder_that_cannot_be_traced_gets_one_line(run: Path, tmp_path: Path) -> None:
    class Stubborn(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.mean(dim=(2, 3)) * float(inputs.mean())

    odd = Deployed(Encoder(Stubborn(), mean=[0.0] * 3, std=[1.0] * 3), torch.eye(3), Layout.NHWC)
    config = semcentres.settings.ExportConfig(run_dir=str(run), format="pt2")
    with pytest.raises(InputError, match="cannot be written as pt2 .*try format=onnx") as caught:
        bundle._write(run, tmp_path, config, odd, images(2, "nhwc"))
    assert "\n" not in str(caught.value)
