"""Emoji that show things: some 840 named classes, drawn by several vendors.

The pictures come from the npm packages emoji-datasource-<vendor> (iamcal/emoji-data, its own code
MIT), fetched when first asked for and never kept in a repository. Licences of the pictures, as
the packages' README states them:

- google: Noto Emoji, Apache-2.0.
- twitter: Twemoji, CC-BY-4.0; show the attribution where you show the pictures.
- facebook: copyright Facebook, Inc., "no clear licensing"; leave it out by `vendors` where that
  matters.

Apple's are left out: they are not licensed for this.

What a class is and how it is called is in `emoji_classes.py`.

Dimensions: K classes, C channels, H by W pixels, N images.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from centre_builders.errors import InputError
from centre_builders.sealed import load_sealed, save_sealed
from semcentres.data.emoji_classes import class_name, hierarchy, is_class
from semcentres.data.npm import Package, read_package
from semcentres.data.source import ImageSet, Source
from semcentres.randomness import generator

VERSION = "16.0.0"
INTEGRITY = {
    "google":
        "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A==",
    "twitter":
        "7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ==",
    "facebook":
        "b9ZxJdB7nMWGckH1vyCjPSosaa6MJYuojPPFiQ0LmDIZS8vlG454XKcmTFKrXIMAA72O4MRJMYFhvWI8pjyciQ==",
}  # fmt: skip
LICENCES = {"google": "Apache-2.0", "twitter": "CC-BY-4.0", "facebook": "no clear licence"}
CATALOGUE = "package/emoji.json"
SIDE = 64  # pixels of a picture in the packages


@dataclass(frozen=True)
class _Drawn:
    """All vendors' pictures of the classes.

    Args:
        names: of the classes.
        groups: category and subcategory of each.
        pictures: of each vendor, laid on white.
    """

    names: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]
    pictures: Mapping[str, UInt8[Tensor, "K C H W"]]


def emoji(
    *,
    root: str | None = None,
    size: int = 32,
    vendors: Sequence[str] = ("google", "twitter", "facebook"),
    held_out_vendor: str = "twitter",
    held_out_share: float = 0.0,
    seed: int = 0,
) -> Source:
    """Return the pictures with one vendor, and perhaps some of the names, held out.

    Training images are the other vendors' pictures of the seen names, test images the held-out
    vendor's. The pictures of unseen names are in `novel`, vendor after vendor, all of them: none
    was trained on, and thrice the images give a smaller error.

    Args:
        root: folder of the cache (70 MB), and of the packages' archives if npm is not to be
            asked; None is `~/.cache/semcentres/emoji`.
        size: side in pixels, 8 to 64.
        vendors: whose pictures to take, at least two; a class is drawn by all of them.
        held_out_vendor: whose pictures are for the test.
        held_out_share: share of the names that are not trained, in [0, 1); they are spread over
            the subcategories.
        seed: of the choice of these names.

    Raises:
        InputError: a keyword is out of range, or the packages cannot be fetched.
        CorruptArtefact: a package or the cache is not as it was published or written.
    """
    _check(size, vendors, held_out_vendor, held_out_share)
    folder = Path(root or "~/.cache/semcentres/emoji").expanduser()
    drawn = _load(folder, tuple(vendors))
    seen, unseen = hold_out(drawn.groups, held_out_share, seed)
    trained = [vendor for vendor in vendors if vendor != held_out_vendor]
    told = ", ".join(f"{vendor} ({LICENCES[vendor]})" for vendor in vendors)
    return Source(
        "emoji",
        tuple(drawn.names[i] for i in seen),
        _images(drawn, trained, seen, size),
        _images(drawn, [held_out_vendor], seen, size),
        f"npm emoji-datasource-* {VERSION}: {told}; {held_out_vendor} held out; in {folder}",
        novel_names=tuple(drawn.names[i] for i in unseen),
        novel=_images(drawn, vendors, unseen, size) if len(unseen) else None,
        parents=hierarchy(drawn.names, drawn.groups),
    )


def hold_out(
    groups: Sequence[tuple[str, str]], share: float, seed: int
) -> tuple[Int[Tensor, " S"], Int[Tensor, " U"]]:
    """Return the rows of the seen and of the unseen names, each in ascending order.

    The unseen ones are evenly spaced in the names, which are sorted by group and shuffled within.
    """
    num = round(share * len(groups))
    rank = {group: i for i, group in enumerate(sorted(set(groups)))}
    shuffled = torch.randperm(len(groups), generator=generator(seed, "emoji"))
    of_group = torch.tensor([rank[groups[i]] for i in shuffled])
    order = shuffled[of_group.argsort(stable=True)]
    spaced = ((torch.arange(num) + 0.5) * (len(groups) / max(num, 1))).long()
    is_unseen = torch.zeros(len(groups), dtype=torch.bool)
    is_unseen[order[spaced]] = True
    return (~is_unseen).nonzero().flatten(), is_unseen.nonzero().flatten()


def _check(size: int, vendors: Sequence[str], held_out_vendor: str, share: float) -> None:
    strange = [vendor for vendor in vendors if vendor not in INTEGRITY]
    if strange or len(set(vendors)) != len(vendors) or len(vendors) < 2:
        raise InputError(
            f"vendors={list(vendors)} must be two or more different ones of {list(INTEGRITY)}"
        )
    if held_out_vendor not in vendors:
        raise InputError(f"held_out_vendor={held_out_vendor!r} must be one of {list(vendors)}")
    if not 8 <= size <= SIDE:
        raise InputError(f"size={size} must be 8 to {SIDE}, the pixels of the pictures")
    if not 0 <= share < 1:
        raise InputError(f"held_out_share={share} must be in [0, 1)")


def _images(drawn: _Drawn, vendors: Sequence[str], rows: Tensor, size: int) -> ImageSet:
    """Return the vendors' pictures of some classes, labelled in the order of `rows`."""
    full = torch.cat([drawn.pictures[vendor][rows] for vendor in vendors])
    small = F.interpolate(full.float(), (size, size), mode="bilinear", antialias=True)
    return ImageSet(small.round().to(torch.uint8), torch.arange(len(rows)).repeat(len(vendors)))


def _load(folder: Path, vendors: tuple[str, ...]) -> _Drawn:
    # What a class is is decided here and not in the cache, so that no cache is out of date.
    cache = folder / f"pictures-{VERSION}-{'-'.join(vendors)}.safetensors"
    if not cache.is_file():
        entries, pictures = _read_packages(folder, vendors)
        save_sealed(cache, pictures, {"entries": json.dumps(entries)})
    tensors, metadata, _ = load_sealed(cache)
    entries = json.loads(metadata["entries"])
    rows = [row for row, entry in enumerate(entries) if is_class(entry)]
    return _Drawn(
        tuple(class_name(entries[row]["name"]) for row in rows),
        tuple((entries[row]["category"], entries[row]["subcategory"]) for row in rows),
        {vendor: torch.from_numpy(pixels[rows]) for vendor, pixels in tensors.items()},
    )


def _read_packages(
    folder: Path, vendors: tuple[str, ...]
) -> tuple[list[dict[str, str]], dict[str, np.ndarray]]:
    """Return the catalogue's entries that all vendors draw, and each vendor's pictures of them."""
    files = {vendor: _read_vendor(folder, vendor) for vendor in vendors}
    # One catalogue is in every package.
    catalogue = json.loads(files[vendors[0]][CATALOGUE])
    catalogue.sort(key=lambda entry: entry["sort_order"])
    drawn = [entry for entry in catalogue if all(entry[f"has_img_{v}"] for v in vendors)]
    pictures = {
        vendor: np.stack([_decode(content[_path(vendor, entry)]) for entry in drawn])
        for vendor, content in files.items()
    }
    kept = ("name", "category", "subcategory")
    return [{key: entry[key] for key in kept} for entry in drawn], pictures


def _read_vendor(folder: Path, vendor: str) -> dict[str, bytes]:
    package = Package(
        name=f"emoji-datasource-{vendor}", version=VERSION, integrity=INTEGRITY[vendor]
    )
    pictures = f"package/img/{vendor}/{SIDE}/"
    return read_package(
        package, root=folder, wanted=lambda path: path == CATALOGUE or path.startswith(pictures)
    )


def _path(vendor: str, entry: Mapping[str, str]) -> str:
    return f"package/img/{vendor}/{SIDE}/{entry['image']}"


def _decode(content: bytes) -> UInt8[np.ndarray, "C H W"]:
    """Return a PNG laid on white."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        picture = image.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB")).transpose(2, 0, 1)
