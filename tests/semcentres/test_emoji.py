"""Tests of the emoji on the packages that npm gives, fetched once into the default cache."""

import shutil
import time
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from centre_builders.errors import CorruptArtefact, InputError
from centre_builders.vocabulary import check_names
from semcentres.data.emoji import SIDE, _decode, emoji, hold_out
from semcentres.data.emoji_classes import RENAMED, class_name, hierarchy
from semcentres.data.source import ImageSet, Source
from semcentres.data.split import split_labels

CACHE = Path("~/.cache/semcentres/emoji").expanduser()
pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None and not CACHE.is_dir(), reason="needs npm to fetch the pictures"
)
GROUPS = [("animals", "bird")] * 11 + [("animals", "bug")] * 3 + [("food", "fruit")] * 6


@pytest.fixture(scope="module")
def whole() -> Source:
    return emoji(size=16)


@pytest.fixture(scope="module")
def parted() -> Source:
    return emoji(size=16, held_out_share=0.2)


@pytest.fixture
def no_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_vendor_held_out_has_each_name_once_a_vendor(whole: Source) -> None:
    num = len(whole.class_names)
    assert 800 < num < 900
    assert whole.train.images.shape == (2 * num, 3, 16, 16)
    assert torch.equal(whole.train.labels.bincount(), torch.full((num,), 2))
    assert torch.equal(whole.test.labels, torch.arange(num))
    assert (whole.novel, whole.novel_names) == (None, ())
    assert len(split_labels(whole, labels_per_class=None).labelled) == 2 * num


def test_names_are_plain_words_and_unique(whole: Source) -> None:
    check_names(whole.class_names)
    assert {"grapes", "dog face", "woman's hat", "cigarette"} <= set(whole.class_names)
    for name in whole.class_names:
        assert name == name.lower()
        assert name.isascii()
        assert not name.endswith((" symbol", " suit"))


def test_no_variants_of_skin_or_gender_or_hour_remain(whole: Source) -> None:
    words = Counter(word for name in whole.class_names for word in name.split())
    assert not {"skin", "tone", "man", "woman", "men", "women", "person", "oclock"} & words.keys()
    assert words["foot"] == 1  # the package has it in six tones of skin


def test_renames_hit_a_name_each() -> None:
    assert class_name("DIRECT HIT") == "dartboard"
    assert class_name("MANS SHOE") == "man's shoe"
    assert class_name("HUMANS") == "humans"


def test_every_rename_is_of_a_name_that_is_there(whole: Source) -> None:
    assert set(RENAMED.values()) <= set(whole.class_names)
    assert not RENAMED.keys() & set(whole.class_names)


def test_pictures_are_the_vendors_own(whole: Source) -> None:
    first, second = whole.train.images.flatten(1).chunk(2)
    for one, other in ((first, second), (first, whole.test.images.flatten(1))):
        assert not (one == other).all(dim=1).any()
    assert (whole.train.images.flatten(1).float().std(dim=1) > 1).all()


def test_pictures_of_one_name_are_alike_across_vendors(whole: Source) -> None:
    """The label of a picture is right: the nearest mean of a name in 8x8 pixels finds it."""
    flat = F.interpolate(torch.cat([whole.train.images, whole.test.images]).float(), (8, 8))
    flat = F.normalize(flat.flatten(1) - flat.flatten(1).mean(dim=0), dim=1)
    num = len(whole.class_names)
    means = (flat[:num] + flat[num : 2 * num]) / 2
    found = (flat[2 * num :] @ means.T).topk(5).indices
    share = (found == torch.arange(num)[:, None]).any(dim=1).double().mean().item()
    assert share > 30 * 5 / num


def test_class_held_out_parts_the_names(whole: Source, parted: Source) -> None:
    num, num_novel = len(whole.class_names), len(parted.novel_names)
    assert num_novel == round(0.2 * num)
    assert set(parted.class_names) | set(parted.novel_names) == set(whole.class_names)
    assert not set(parted.class_names) & set(parted.novel_names)
    assert len(parted.train) == 2 * (num - num_novel)
    assert len(parted.test) == num - num_novel
    assert parted.novel is not None
    assert torch.equal(parted.novel.labels, torch.arange(num_novel).repeat(3))


def test_class_held_out_keeps_each_picture_with_its_name(whole: Source, parted: Source) -> None:
    assert parted.novel is not None
    row = {name: i for i, name in enumerate(whole.class_names)}
    seen = [row[name] for name in parted.class_names]
    unseen = [row[name] for name in parted.novel_names]
    assert torch.equal(parted.test.images, whole.test.images[seen])
    # google, twitter, facebook
    num = len(unseen)
    assert torch.equal(parted.novel.images[num : 2 * num], whole.test.images[unseen])
    assert torch.equal(parted.novel.images[:num], whole.train.images[unseen])


def test_held_out_names_are_fixed_by_the_seed_alone(parted: Source) -> None:
    other_size = emoji(size=8, held_out_share=0.2, held_out_vendor="google")
    assert other_size.novel_names == parted.novel_names
    assert emoji(size=8, held_out_share=0.2, seed=1).novel_names != parted.novel_names


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_names_are_spread_over_the_groups(seed: int) -> None:
    seen, unseen = hold_out(GROUPS, 0.3, seed)
    assert sorted(torch.cat([seen, unseen]).tolist()) == list(range(len(GROUPS)))
    held = Counter(GROUPS[i] for i in unseen.tolist())
    assert held.total() == 6
    for group, num in Counter(GROUPS).items():
        assert abs(held[group] - 0.3 * num) < 1


def test_parents_lead_from_every_name_to_one_root(parted: Source) -> None:
    assert parted.parents is not None
    for name in parted.class_names + parted.novel_names:
        path = [name]
        while path[-1] in parted.parents and len(path) < 9:  # an end even where there is a loop
            path.append(parted.parents[path[-1]])
        assert path[-1] == "emoji"
        assert len(path) == 4
    assert parted.parents["banana"] == "Food & Drink/food-fruit"


def test_hierarchy_keeps_a_class_apart_from_a_group_of_its_name() -> None:
    edges = hierarchy(["lock", "key"], [("Objects", "lock"), ("Objects", "lock")])
    below = {"lock": "Objects/lock", "key": "Objects/lock"}
    assert edges == {**below, "Objects/lock": "Objects", "Objects": "emoji"}


def test_size_agrees_with_pillow(whole: Source) -> None:
    full = emoji(size=SIDE).test.images[:40].permute(0, 2, 3, 1).numpy()
    small = [
        Image.fromarray(picture).resize((16, 16), Image.Resampling.BILINEAR) for picture in full
    ]
    wanted = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in small])
    found = whole.test.images[:40].numpy()
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (3, 2), (200, 100, 0, 0))
    image.putpixel((1, 0), (200, 100, 0, 255))
    image.putpixel((2, 1), (200, 100, 0, 51))
    image.save(tmp_path / "x.png")
    pixels = _decode((tmp_path / "x.png").read_bytes())
    assert pixels.shape == (3, 2, 3)
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[:, 0, 1].tolist() == [200, 100, 0]
    assert pixels[:, 1, 2].tolist() == [244, 224, 204]  # 0.2 of the colour, 0.8 of white


def test_is_offline_and_quick_once_cached(whole: Source, no_npm: None) -> None:
    start = time.monotonic()
    start = time.process_time()  # of this process alone: others may load the machine
    again = emoji(size=16)
    assert time.process_time() - start < 2
    assert again.fingerprint == whole.fingerprint
    assert "Apache-2.0" in again.origin
    assert "no clear licence" in again.origin


def test_damaged_cache_is_refused(whole: Source, tmp_path: Path) -> None:
    (cache,) = Path(whole.origin.rpartition(" in ")[2]).glob("*-google-twitter-facebook.*")
    content = bytearray(cache.read_bytes())
    content[-7] ^= 1
    (tmp_path / cache.name).write_bytes(content)
    with pytest.raises(CorruptArtefact, match=cache.name):
        emoji(root=str(tmp_path))


@pytest.mark.parametrize(
    ("keywords", "culprit"),
    [
        ({"vendors": ["google"]}, r"vendors=\['google'\]"),
        ({"vendors": ["google", "google"]}, "different"),
        ({"vendors": ["google", "apple"], "held_out_vendor": "google"}, "apple"),
        ({"held_out_vendor": "samsung"}, "held_out_vendor='samsung'"),
        ({"size": 65}, "size=65"),
        ({"held_out_share": 1.0}, "held_out_share=1.0"),
        ({"held_out_share": -0.1}, "held_out_share=-0.1"),
    ],
)
def test_refuses_keywords(keywords: dict, culprit: str) -> None:
    with pytest.raises(InputError, match=culprit):
        emoji(**keywords)


def test_without_npm_names_the_remedies(no_npm: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"install npm.*data.root.*emoji-datasource-google-.*tgz"):
        emoji(root=str(tmp_path / "empty"))
    assert not (tmp_path / "empty").exists()


def test_fingerprint_covers_novel_pictures_and_names(parted: Source) -> None:
    assert parted.novel is not None
    changed = parted.novel.images.clone()
    changed[7, 0, 3, 4] ^= 1
    pictures = replace(parted, novel=ImageSet(changed, parted.novel.labels))
    names = replace(parted, novel_names=("x", *parted.novel_names[1:]))
    prints = {parted.fingerprint, pictures.fingerprint, names.fingerprint}
    assert len(prints) == 3


def test_fingerprint_of_a_source_without_novel_names_is_as_it_was() -> None:
    """Equal to the digest by hand, so that runs made before novel names can be resumed."""
    images = torch.arange(24, dtype=torch.uint8).view(2, 1, 3, 4)
    one = ImageSet(images, torch.tensor([0, 1]))
    digest = sha256(b"('a', 'b')")
    for _ in range(2):
        digest.update(b"(2, 1, 3, 4)" + bytes(range(24)) + np.array([0, 1]).tobytes())
    assert Source("x", ("a", "b"), one, one).fingerprint == digest.hexdigest()


def test_source_refuses_half_of_novel_and_names_in_both(parted: Source) -> None:
    with pytest.raises(InputError, match="169 novel names with 0 images"):
        replace(parted, novel=None)
    with pytest.raises(InputError, match="'leg' is both seen and novel"):
        replace(parted, class_names=(*parted.class_names, "leg"))
