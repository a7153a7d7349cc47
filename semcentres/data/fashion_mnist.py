"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747): 60,000 + 10,000 grey images, 10 garments."""

import gzip
import struct
from pathlib import Path

import torch
from torch import Tensor

from centre_builders.errors import InputError
from centre_builders.tree_files import read_parents
from semcentres.data.source import ImageSet, Source

# The data set has no hierarchy of its own; this one is ours.
TREE = Path(__file__).with_name("trees") / "fashion_mnist.yaml"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def fashion_mnist(*, root: str | None = None) -> Source:
    """Return Fashion-MNIST from `root`, else Debian's package, else torchvision's download.

    Args:
        root: folder with the four `*-ubyte.gz` files; a download goes there too
            (by default to `~/.cache/semcentres`).

    Raises:
        InputError: all three places failed, or a file is damaged.
    """
    folder = _find(Path(root).expanduser() if root else None)
    train, test = (
        ImageSet(
            _read_idx(folder / f"{split}-images-idx3-ubyte.gz").unsqueeze(1),
            _read_idx(folder / f"{split}-labels-idx1-ubyte.gz").long(),
        )
        for split in ("train", "t10k")
    )
    return Source(
        "fashion_mnist", CLASS_NAMES, train, test, str(folder), parents=read_parents(TREE)
    )


def _find(root: Path | None) -> Path:
    cache = root or Path("~/.cache/semcentres").expanduser()
    downloaded = cache / "FashionMNIST" / "raw"
    for folder in (cache, downloaded, DEBIAN_FOLDER):
        if (folder / "train-images-idx3-ubyte.gz").is_file():
            return folder
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(str(cache), download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"Fashion-MNIST is neither in {cache} nor in {DEBIAN_FOLDER}, and its download failed"
            f" ({error}); set data.root to a folder with the four *-ubyte.gz files, or run"
            " `apt-get install dataset-fashion-mnist`, or connect to the internet"
        ) from error
    return downloaded


def _read_idx(path: Path) -> Tensor:
    """Read one gzipped IDX file of unsigned bytes (format: yann.lecun.com/exdb/mnist)."""
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
        zero, kind, rank = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        if (zero, kind) != (0, 8):
            raise ValueError(f"header {content[:4].hex()}, wanted 0000 08 and the rank")
        return torch.frombuffer(bytearray(content[4 + 4 * rank :]), dtype=torch.uint8).view(shape)
    except (OSError, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise InputError(f"{path} cannot be read as IDX ({error}); fetch it again") from error
