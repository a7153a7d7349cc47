"""Tests of sources, splits and streams on real images."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from centre_builders.errors import InputError
from semcentres.data import fashion_mnist as fashion
from semcentres.data.folder import folder
from semcentres.data.image_file import load_image
from semcentres.data.mnist_5k import mnist_5k
from semcentres.data.source import UNLABELLED, ImageSet, Source
from semcentres.data.split import split_labels
from semcentres.data.stream import Stream


@pytest.fixture(scope="module")
def digits() -> Source:
    return mnist_5k()


@pytest.fixture
def pictures(tmp_path: Path, digits: Source) -> Path:
    """A folder as a user has it: two classes and images without a label."""
    for name, rows in {
        "one": range(5),
        "two words": range(5, 9),
        "unlabelled": range(9, 12),
    }.items():
        place = tmp_path / "mine" / name
        place.mkdir(parents=True)
        for row in rows:
            Image.fromarray(digits.train.images[row, 0].numpy()).save(place / f"{row}.png")
    return tmp_path / "mine"


def test_mnist_5k_is_balanced_and_fixed(digits: Source) -> None:
    assert (len(digits.train), len(digits.test)) == (4000, 1000)
    both = torch.cat([digits.train.labels, digits.test.labels])
    assert torch.equal(both.bincount(), torch.full((10,), 500))
    assert mnist_5k().fingerprint == digits.fingerprint


def test_fingerprint_sees_one_pixel(digits: Source) -> None:
    changed = digits.train.images.clone()
    changed[7, 0, 3, 4] ^= 1
    other = Source(
        "mnist_5k", digits.class_names, ImageSet(changed, digits.train.labels), digits.test
    )
    assert other.fingerprint != digits.fingerprint


def test_statistics_are_those_of_the_pixels(digits: Source) -> None:
    pixels = digits.train.images.numpy() / 255
    mean, std = digits.statistics
    assert mean == pytest.approx([pixels.mean()], abs=1e-9)
    assert std == pytest.approx([pixels.std(ddof=1)], abs=1e-9)


def _idx(path: Path, header: bytes, body: bytes) -> None:
    with gzip.open(path, "wb") as file:
        file.write(header + body)


def _small_fashion(root: Path) -> None:
    for split, num in (("train", 3), ("t10k", 2)):
        count = num.to_bytes(4)
        pixels = bytes(range(num * 4))
        _idx(
            root / f"{split}-images-idx3-ubyte.gz",
            b"\0\0\x08\x03" + count + b"\0\0\0\x02" * 2,
            pixels,
        )
        _idx(root / f"{split}-labels-idx1-ubyte.gz", b"\0\0\x08\x01" + count, bytes(range(num)))


def test_fashion_mnist_is_read_from_the_root_first(tmp_path: Path) -> None:
    _small_fashion(tmp_path)
    source = fashion.fashion_mnist(root=str(tmp_path))
    assert source.origin == str(tmp_path)
    assert source.train.images.flatten().tolist() == list(range(12))
    assert source.train.images.shape == (3, 1, 2, 2)
    assert source.test.labels.tolist() == [0, 1]


def test_damaged_fashion_mnist_is_named(tmp_path: Path) -> None:
    _small_fashion(tmp_path)
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte.gz cannot be read as IDX"):
        fashion.fashion_mnist(root=str(tmp_path))


def test_missing_fashion_mnist_names_three_remedies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", no_network)
    with pytest.raises(InputError, match=r"data.root.*apt-get install.*connect") as caught:
        fashion.fashion_mnist(root=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_folder_takes_classes_and_unlabelled(pictures: Path) -> None:
    source = folder(root=str(pictures), size=16).read()
    assert source.class_names == ("one", "two words")
    assert source.train.images.shape == (4 + 3 + 3, 3, 16, 16)
    assert source.train.labels.tolist().count(UNLABELLED) == 3
    assert sorted(source.test.labels.tolist()) == [0, 1]


def test_folder_names_the_unreadable_image(pictures: Path) -> None:
    (pictures / "one" / "bad.jpg").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"bad\.jpg is not a readable image"):
        folder(root=str(pictures)).read()


def test_folder_refuses_a_class_of_one(pictures: Path) -> None:
    shutil.rmtree(pictures / "two words")
    (pictures / "two words").mkdir()
    with pytest.raises(InputError, match="'two words' has 0;"):
        folder(root=str(pictures))


@pytest.mark.parametrize("missing", ["nowhere", "."])
def test_folder_without_classes_is_named(tmp_path: Path, missing: str) -> None:
    with pytest.raises(InputError, match="folder"):
        folder(root=str(tmp_path / missing))


def test_image_kinds_have_the_right_pixels(tmp_path: Path) -> None:
    """16-bit grey, transparency, EXIF orientation: what a plain convert gets wrong."""
    deep = np.full((8, 8), 257 * 100, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert load_image(tmp_path / "deep.png", 8).flatten().tolist() == [100] * 192
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert (load_image(tmp_path / "clear.png", 8) == 255).all()
    turned = Image.new("RGB", (8, 8), "black")
    turned.paste("white", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    upright = load_image(tmp_path / "turned.png", 8)[0]
    assert (upright[:, 4:] == 255).all()
    assert (upright[:, :4] == 0).all()


def test_split_is_balanced_disjoint_and_complete(digits: Source) -> None:
    split = split_labels(digits, labels_per_class=7, validation=100, seed=3)
    assert digits.train.labels[split.labelled].bincount().tolist() == [7] * 10
    rows = torch.cat([split.labelled, split.unlabelled, split.validation])
    assert torch.equal(rows.sort().values, torch.arange(4000))
    assert len(split.validation) == 100


def test_split_depends_on_the_seed_alone(digits: Source) -> None:
    first, again, other = (
        split_labels(digits, labels_per_class=7, seed=s).labelled for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_split_never_labels_the_unlabelled(pictures: Path) -> None:
    source = folder(root=str(pictures)).read()
    split = split_labels(source, labels_per_class=None)
    assert (source.train.labels[split.labelled] >= 0).all()
    assert (source.train.labels[split.unlabelled] == UNLABELLED).all()


def test_split_names_the_class_with_too_few(digits: Source) -> None:
    with pytest.raises(InputError, match=r"class 'zero' has \d+ labelled"):
        split_labels(digits, labels_per_class=501)


def test_stream_passes_over_all_rows_before_repeating() -> None:
    stream = Stream(torch.arange(10, 17), 3, seed=0, name="s")
    drawn = torch.cat([stream.at(step) for step in range(7)])
    for epoch in drawn.split(7):
        assert epoch.sort().values.tolist() == list(range(10, 17))
    assert drawn[:7].tolist() != drawn[7:14].tolist()


def test_stream_is_a_function_of_the_step() -> None:
    stream = Stream(torch.arange(10), 4, seed=0, name="s")
    in_order = [stream.at(step).tolist() for step in range(9)]
    assert [stream.at(step).tolist() for step in reversed(range(9))] == in_order[::-1]
    assert Stream(torch.arange(10), 4, seed=1, name="s").at(0).tolist() != in_order[0]


def test_stream_smaller_than_its_batch_repeats() -> None:
    drawn = Stream(torch.arange(3), 8, seed=0, name="s").at(0)
    assert drawn.bincount().tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_empty_stream_gives_empty_batches() -> None:
    assert len(Stream(torch.arange(0), 4, seed=0, name="s").at(5)) == 0
    assert len(Stream(torch.arange(9), 0, seed=0, name="s").at(5)) == 0


def test_balanced_batches_hold_the_classes_in_their_shares() -> None:
    """Each pass holds every row once; a batch of ten has one of each class, give or take one."""
    classes = torch.arange(200) % 10
    rows = torch.arange(1000, 1200)
    stream = Stream(rows, 10, seed=0, name="s", classes=classes)
    batches = [stream.at(step) for step in range(40)]
    for half in (batches[:20], batches[20:]):
        assert torch.equal(torch.cat(half).sort().values, rows)
    counts = torch.stack([classes[batch - 1000].bincount(minlength=10) for batch in batches])
    assert counts.max() <= 2
    free = Stream(rows, 10, seed=0, name="s")
    assert max(classes[free.at(step) - 1000].bincount().max() for step in range(40)) > 2
    assert not torch.equal(torch.cat(batches[:20]), torch.cat(batches[20:]))


def test_balanced_batches_keep_uneven_shares() -> None:
    """Sixty of one class and twenty of another: three to one, give or take one."""
    classes = torch.tensor([0] * 60 + [1] * 20)
    stream = Stream(torch.arange(80), 8, seed=3, name="s", classes=classes)
    for step in range(10):
        assert 1 <= (classes[stream.at(step)] == 1).sum() <= 3
