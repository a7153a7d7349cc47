"""Bytes changed at random: what a bad disk, a bad network or a fuzzer makes of a file."""

import re

import numpy as np

# Lengths and counts that parsers go wrong at.
EDGES = [0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**33, 2**53, 2**62, 2**63 - 1, -(2**31)]
NUMBER = re.compile(rb"-?\d+")


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return other bytes, by one of ten kinds of change; never the same."""
    while True:
        changed = KINDS[rng.integers(len(KINDS))](bytearray(content), rng)
        if bytes(changed) != content:
            return bytes(changed)


def _place(content: bytearray, rng: np.random.Generator) -> int:
    """Return where to change; half of the time near the head, where the structure is."""
    most = len(content) if rng.random() < 0.5 else min(len(content), 512)
    return int(rng.integers(max(1, most)))


def _bit(content: bytearray, rng: np.random.Generator) -> bytearray:
    if content:
        content[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return content


def _byte(content: bytearray, rng: np.random.Generator) -> bytearray:
    if content:
        content[_place(content, rng)] = int(rng.integers(256))
    return content


def _insert(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(content, rng)
    content[at:at] = rng.bytes(int(rng.integers(1, 65)))
    return content


def _delete(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(content, rng)
    del content[at : at + int(rng.integers(1, 65))]
    return content


def _truncate(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: _place(content, rng)]


def _double(content: bytearray, rng: np.random.Generator) -> bytearray:
    at, num = _place(content, rng), int(rng.integers(1, 257))
    content[at:at] = content[at : at + num]
    return content


def _zero(content: bytearray, rng: np.random.Generator) -> bytearray:
    at, num = _place(content, rng), int(rng.integers(1, 257))
    content[at : at + num] = bytes(len(content[at : at + num]))
    return content


def _edge(content: bytearray, rng: np.random.Generator) -> bytearray:
    width, value = int(rng.choice([4, 8])), EDGES[rng.integers(len(EDGES))]
    at = _place(content, rng)
    content[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    return content


def _swap(content: bytearray, rng: np.random.Generator) -> bytearray:
    a, b, num = _place(content, rng), _place(content, rng), int(rng.integers(1, 65))
    content[a : a + num], content[b : b + num] = content[b : b + num], content[a : a + num]
    return content


def _number(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Change a number of a text."""
    found = list(NUMBER.finditer(content[:65536]))
    if found:
        one = found[rng.integers(len(found))]
        others = [
            b"%d" % EDGES[rng.integers(len(EDGES))],
            b"1e999",
            b"null",
            b'"7"',
            b"[]",
            b"-0.5",
        ]
        content[one.start() : one.end()] = others[rng.integers(len(others))]
    return content


KINDS = [_bit, _byte, _insert, _delete, _truncate, _double, _zero, _edge, _swap, _number]
