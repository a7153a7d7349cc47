"""Tests of the linear probe and of the other classifiers made of labelled images."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from centre_builders.errors import InputError
from semcentres.backbones import torchvision_model
from semcentres.data.mnist_5k import mnist_5k
from semcentres.data.source import ImageSet
from semcentres.encoder import Encoder, MeanOverPixels, WithFeatures, first_of_head, small_conv
from semcentres.evaluation.probe import probe_predict
from semcentres.measure import Embedded, by_labelled


def clouds(seed: int, shift: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in seven columns, apart in one column of small scale and one of large."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 2, 5], [40, 30, 20]))
    rows = rng.standard_normal((90, 7))
    rows[:, 0] += shift * (labels == 2)
    rows[:, 1] += shift * (labels == 5)
    return rows * [1e-3, 1e3, 1, 1, 1, 1, 1], labels


def test_finds_linear_classes_at_any_scale_of_columns() -> None:
    rows, labels = clouds(0, shift=8.0)
    queries, wanted = clouds(1, shift=8.0)
    assert (probe_predict(rows, labels, queries) == wanted).mean() > 0.97


def test_a_great_penalty_leaves_the_most_frequent_class() -> None:
    rows, labels = clouds(0)
    queries, _ = clouds(1)
    assert set(probe_predict(rows, labels, queries, penalty=1e6)) == {0}


def test_refuses_what_cannot_be_fitted() -> None:
    rows, labels = clouds(0)
    with pytest.raises(InputError, match="penalty must be positive, got 0"):
        probe_predict(rows, labels, rows, penalty=0.0)
    with pytest.raises(InputError, match="got 1 classes and 90 images"):
        probe_predict(rows, labels * 0, rows)
    with pytest.raises(InputError, match="got 90 classes and 90 images"):
        probe_predict(rows, np.arange(90), rows)


def test_maps_are_averaged_over_their_pixels() -> None:
    maps = torch.rand(3, 5, 4, 2, generator=torch.Generator().manual_seed(0))
    for layout in (torch.contiguous_format, torch.channels_last):
        found = MeanOverPixels()(maps.contiguous(memory_format=layout))
        torch.testing.assert_close(found, maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("hidden", [None, 24])
def test_features_are_what_the_head_is_given(hidden: int | None) -> None:
    """The pooled maps of the last convolution, whether the head has one layer or two."""
    backbone = small_conv(channels=1, dimension=6, width=4, hidden=hidden)
    encoder = Encoder(backbone, mean=[0.2], std=[0.5]).eval()
    images = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    head = next(i for i, layer in enumerate(backbone) if isinstance(layer, nn.Linear))
    wanted = backbone[:head]((images - 0.2) / 0.5)
    found = WithFeatures(encoder)(images)
    torch.testing.assert_close(found, torch.cat([encoder(images), wanted], dim=1))
    assert wanted.shape == (5, 16)


def test_the_head_of_other_backbones() -> None:
    resnet = torchvision_model(channels=3, dimension=8, name="resnet18").module
    assert first_of_head(resnet) is resnet.fc
    vgg = torchvision_model(channels=3, dimension=8, name="vgg11").module
    assert first_of_head(vgg) is vgg.classifier[0]
    squeezenet = torchvision_model(channels=3, dimension=8, name="squeezenet1_1").module
    assert first_of_head(squeezenet) is None


def test_classifiers_made_of_labelled_images() -> None:
    """Each against its definition, one image at a time."""
    source = mnist_5k()
    torch.manual_seed(0)
    backbone = small_conv(channels=1, dimension=6, width=4)
    encoder = Encoder(backbone, mean=[0.2], std=[0.5]).eval()
    labelled = ImageSet(source.train.images[::20], source.train.labels[::20])
    held = ImageSet(source.test.images[:200], source.test.labels[:200])
    centres = np.eye(10, 6, dtype=np.float32)
    centres[6:] = -np.eye(4, 6)
    asked_of, taught_of = (Embedded.of(encoder, part, 6) for part in (held, labelled))
    found = by_labelled(asked_of, taught_of, centres)
    with torch.no_grad():
        known = encoder(labelled.images.float() / 255).tolist()
        asked = encoder(held.images.float() / 255).tolist()
    right = {"nearest_centre": 0, "soft_neighbour": 0}
    for z, label in zip(asked, held.labels.tolist(), strict=True):
        cosines = [sum(a * b for a, b in zip(z, c, strict=True)) for c in centres.tolist()]
        right["nearest_centre"] += cosines.index(max(cosines)) == label
        mass = [0.0] * 10
        for other, k in zip(known, labelled.labels.tolist(), strict=True):
            mass[k] += math.exp(sum(a * b for a, b in zip(z, other, strict=True)) / 0.1)
        right["soft_neighbour"] += mass.index(max(mass)) == label
    for name, count in right.items():
        assert found[f"{name}_accuracy"] == pytest.approx(count / 200)
    probe = probe_predict(np.array(known), labelled.labels.numpy(), np.array(asked))
    assert found["probe_accuracy"] == pytest.approx((probe == held.labels.numpy()).mean(), abs=0.02)
    with torch.no_grad():
        taught, posed = (
            backbone[:-1]((part.images.float() / 255 - 0.2) / 0.5).numpy()
            for part in (labelled, held)
        )
    features = probe_predict(taught, labelled.labels.numpy(), posed) == held.labels.numpy()
    assert found["feature_probe_accuracy"] == pytest.approx(features.mean(), abs=0.02)
    assert found["feature_probe_accuracy"] != found["probe_accuracy"]
