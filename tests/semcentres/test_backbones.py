"""Backbones of torchvision and timm: their weights, their normalisation, their images."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from centre_builders import OneHot, build_bank
from centre_builders.errors import InputError
from semcentres.backbones import (
    TENSORS_ALONE,
    LibraryModel,
    check_images,
    timm_model,
    torchvision_model,
)
from semcentres.cli import main
from semcentres.data.mnist_5k import mnist_5k
from semcentres.encoder import Encoder
from semcentres.model import Model
from semcentres.views import plain
from semcentres.weights import CENTRES, make_encoder, save_model

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALF = ([0.5] * 3, [0.5] * 3)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Published weights are out of reach, and none are cached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def torchvision_donor(name: str) -> nn.Module:
    donor: nn.Module = models.get_model(name, weights=None, num_classes=1000)
    return donor


def timm_donor(name: str) -> nn.Module:
    donor: nn.Module = timm.create_model(name)
    return donor


# library, model, its last layer, what its weights expect
KINDS = [
    (torchvision_model, torchvision_donor, "shufflenet_v2_x0_5", "fc", 224, IMAGENET),
    (torchvision_model, torchvision_donor, "squeezenet1_1", "classifier.1", 224, IMAGENET),
    (timm_model, timm_donor, "test_efficientnet", "classifier", 160, IMAGENET),
    (timm_model, timm_donor, "test_vit", "head", 160, HALF),
    (timm_model, timm_donor, "test_convnext", "head.fc", 160, HALF),
]


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(("make", "donor", "name", "head", "side", "norm"), KINDS)
def test_takes_all_weights_but_the_last_layers(
    make: Callable[..., LibraryModel],
    donor: Callable[[str], nn.Module],
    name: str,
    head: str,
    side: int,
    norm: tuple[list[float], list[float]],
    suffix: str,
    tmp_path: Path,
) -> None:
    weights = donor(name).state_dict()
    file = tmp_path / f"w.{suffix}"
    save = save_file if suffix == "safetensors" else torch.save
    save({"model": weights} if suffix == "pth" else weights, file)
    found = make(channels=3, dimension=7, name=name, weights=str(file))
    mine = found.module.state_dict()
    differ = {k for k in mine if not torch.equal(mine[k], weights[k])}
    assert differ == {f"{head}.weight", f"{head}.bias"}
    assert mine[f"{head}.weight"].shape[0] == 7
    encoder = found.encoder(([0.1], [0.2]))
    assert (encoder.trained_at, encoder.size) == (side, side)
    asked = make(channels=3, dimension=7, name=name, weights=str(file), size=48)
    assert (asked.trained_at, asked.size) == (side, 48)
    torch.testing.assert_close((encoder.mean, encoder.std), tuple(map(torch.tensor, norm)))


def test_new_weights_are_normalised_by_the_data() -> None:
    found = torchvision_model(channels=1, dimension=7)
    encoder = found.encoder(([0.1], [0.2]))
    assert (encoder.trained_at, encoder.size) == (None, None)
    torch.testing.assert_close(encoder.mean, torch.full((3,), 0.1))
    torch.testing.assert_close(encoder.std, torch.full((3,), 0.2))


@pytest.mark.parametrize("make", [torchvision_model, timm_model])
def test_grey_image_is_three_equal_channels(make: Callable[..., LibraryModel]) -> None:
    encoder = make(channels=1, dimension=7).encoder(([0.1], [0.2])).eval()
    grey = torch.rand(2, 1, 40, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match="the images have 4"):
        make(channels=4, dimension=7)


def test_size_resizes_before_the_backbone() -> None:
    """A constant image stays constant; fine stripes are averaged, not skipped."""
    seen: list[torch.Tensor] = []
    keep = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    keep.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder = Encoder(keep, mean=[0.0] * 3, std=[1.0] * 3, size=4)
    stripes = (torch.arange(16) % 4 == 0).float().expand(16, 16)
    encoder(torch.stack([torch.full((16, 16), 0.3), stripes]).unsqueeze(1))
    assert seen[0].shape == (2, 3, 4, 4)
    torch.testing.assert_close(seen[0][0], torch.full((3, 4, 4), 0.3))
    torch.testing.assert_close(seen[0][1], torch.full((3, 4, 4), 0.25), atol=0.08, rtol=0)
    encoder(stripes.bfloat16().expand(1, 1, 16, 16))
    torch.testing.assert_close(seen[1][0], seen[0][1])


def test_what_weights_expect_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "semcentres")
    module = torchvision_model(channels=1, dimension=7).module
    images = torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    check_images(LibraryModel(module, 48, 224, IMAGENET).encoder(HALF), images)
    assert "takes 3 channels: the images' one is repeated" in caplog.text
    assert "images of 32 pixels are resized to 48 within the model; data.source.size=224" in (
        caplog.text
    )
    assert "trained on images of 224 pixels, it is given 48" in caplog.text
    caplog.clear()
    check_images(LibraryModel(module, 32, 32, IMAGENET).encoder(HALF), images.expand(-1, 3, -1, -1))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("make", "name"),
    [(timm_model, "test_vit"), (torchvision_model, "squeezenet1_1")],
)
def test_image_of_an_impossible_size(make: Callable[..., LibraryModel], name: str) -> None:
    encoder = make(channels=3, dimension=7, name=name).encoder(HALF)
    encoder.trained_at = 160
    with pytest.raises(InputError, match=r"of 9 pixels .*encoder.size=160"):
        check_images(encoder, torch.zeros(3, 3, 9, 9, dtype=torch.uint8))
    encoder.size = 160
    check_images(encoder, torch.zeros(3, 3, 9, 9, dtype=torch.uint8))
    assert encoder.training


class Marker:
    """Leaves a file behind where a pickle of it is run."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("make", [torchvision_model, timm_model])
def test_bad_weights_get_one_line(make: Callable[..., LibraryModel], tmp_path: Path) -> None:
    torch.save({"conv1.weight": Marker(tmp_path / "ran")}, tmp_path / "evil.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x09\x00\x00")
    torch.save(torchvision_donor("shufflenet_v2_x0_5").state_dict(), tmp_path / "other.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"epoch": 3, "weights": {}}, tmp_path / "checkpoint.pth")
    (tmp_path / "text.pth").write_bytes(b"a: !!python/object/apply:os.mkdir ['x']\n")
    for file, said in {
        "tensor.pth": "tensor.pth holds no tensors by their names",
        "checkpoint.pth": "checkpoint.pth holds no tensors by their names",
        "gone.pth": "is no file; give one, or .*DEFAULT",
        "evil.pth": "does not hold weights alone",
        "text.pth": "does not hold weights alone",
        "cut.safetensors": "does not hold weights alone",
        "other.pth": r"tensors are not this model's \(bn1.bias: \[64\] wanted, none given",
    }.items():
        with pytest.raises(InputError, match=said) as caught:
            make(channels=3, dimension=7, weights=str(tmp_path / file))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("make", "name"), [(timm_model, "resnet18.a1_in1k"), (torchvision_model, "resnet18")]
)
def test_published_weights_out_of_reach(
    make: Callable[..., LibraryModel], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers
    with pytest.raises(InputError, match=f"weights of {name} cannot be had .*encoder.weights=FILE"):
        make(channels=3, dimension=7, name=name, weights="DEFAULT")


def test_published_weights_in_the_cache_run_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision takes what lies there under their name, unchecked, and as any pickle."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = Path(models.ResNet18_Weights.DEFAULT.url).name
    file = tmp_path / "hub" / "checkpoints" / name
    file.parent.mkdir(parents=True)
    torch.save({"conv1.weight": Marker(tmp_path / "ran")}, file)
    with pytest.raises(InputError, match="weights of resnet18 cannot be had .Weights only load"):
        torchvision_model(channels=3, dimension=7, name="resnet18", weights="DEFAULT")
    assert not (tmp_path / "ran").exists()
    assert TENSORS_ALONE not in os.environ
    torch.save(models.resnet18().state_dict(), file)
    torchvision_model(channels=3, dimension=7, name="resnet18", weights="DEFAULT")


@pytest.mark.parametrize("make", [torchvision_model, timm_model])
def test_unknown_model_names_near_ones(make: Callable[..., LibraryModel]) -> None:
    with pytest.raises(ValueError, match="no classification model 'resnt18'; it has .*resnet18"):
        make(channels=3, dimension=7, name="resnt18")


@pytest.mark.parametrize(
    ("library", "name", "donated", "norm"),
    [
        ("torchvision", "shufflenet_v2_x0_5", torchvision_donor, IMAGENET),
        ("timm", "test_resnet", timm_donor, HALF),
    ],
)
def test_training_fetches_nothing_and_loads_without_the_file(
    library: str,
    name: str,
    donated: Callable[[str], nn.Module],
    norm: tuple[list[float], list[float]],
    tmp_path: Path,
) -> None:
    """By the command: frozen features are the file's, and the run needs the file no more."""
    donor = donated(name).state_dict()
    file = tmp_path / "donor.safetensors"
    save_file(donor, file)
    for number, image in enumerate(mnist_5k().train.images[:12].numpy()):
        place = tmp_path / "pictures" / ("even" if number % 2 else "odd") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(place)
    words = [
        "data=folder", f"data.root={tmp_path / 'pictures'}", "data.labels_per_class=2",
        f"encoder={library}", f"encoder.name={name}", f"encoder.weights={file}",
        "trainer.learn=last",
        "trainer.steps=2", "trainer.labelled_batch=8", "trainer.unlabelled_batch=0",
        "trainer.device=cpu", "centres=one_hot", f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert main(["train", *words]) == 0
    file.unlink()
    model = Model.load(tmp_path / "run")
    learnt = model.encoder.backbone.state_dict()
    assert {k for k in donor if not torch.equal(donor[k], learnt[k])} == {"fc.weight", "fc.bias"}
    torch.testing.assert_close(model.encoder.mean, torch.tensor(norm[0]))
    assert model.about["encoder"]["weights"] == "donor.safetensors"
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["num_labelled"] == 4


def test_a_loaded_model_resizes_to_the_size_of_its_weights(tmp_path: Path) -> None:
    save_file(torchvision_donor("shufflenet_v2_x0_5").state_dict(), tmp_path / "w.safetensors")
    component = {
        "_target_": "semcentres.backbones.torchvision_model", "_partial_": True, "size": None,
        "name": "shufflenet_v2_x0_5", "weights": str(tmp_path / "w.safetensors"),
    }  # fmt: skip
    bank = build_bank(OneHot(), ["cat", "dog", "owl"])
    encoder = make_encoder(component, channels=3, bank=bank, statistics=HALF).eval()
    images = torch.arange(2 * 3 * 20 * 20).remainder(251).to(torch.uint8).view(2, 3, 20, 20)
    save_model(tmp_path, encoder, component=component, bank=bank, images=images, data="d")
    bank.save(tmp_path / CENTRES)
    loaded = Model.load(tmp_path)
    assert loaded.encoder.size == 224
    torch.testing.assert_close(torch.from_numpy(loaded.embed(images)), encoder(plain(images)))
