"""Randomness that is a function of names and numbers, so that a resumed run repeats it exactly."""

from hashlib import blake2b

import torch


def generator(*keys: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator whose draws depend on `keys` alone, as in `generator(seed, step, "view")`.

    No generator outlives the step that made it: the state to save for an exact resume is the
    number of the step.
    """
    digest = blake2b(repr(keys).encode(), digest_size=8).digest()
    # A generator's seed must fit in a signed 64-bit integer on every device.
    return torch.Generator(device).manual_seed(int.from_bytes(digest) >> 1)
