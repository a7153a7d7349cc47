"""The soft-min and its gradient, fused, in blocks, plain, and the bare products they need."""

import resource
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.timing import Mark, Report, race
from semcentres.attention import in_blocks
from semcentres.softmin import softmin

BATCH, WIDTH, TEMPERATURE = 256, 128, 0.05
SIZES = (10, 1_000, 10_000, 100_000, 1_000_000)
MARKED = (100_000, 1_000_000)


def measure() -> Report:
    """Return seconds of value and gradient for each number of centres."""
    report = Report(f"soft-min, forward and backward, {BATCH} embeddings, {WIDTH} dimensions")
    for num in SIZES:
        z, c = data(num)
        found = race(
            {
                "semcentres": lambda z=z, c=c: ours(z, c),
                "in blocks": lambda z=z, c=c: in_blocks(z, c, scale=2 / TEMPERATURE),
                "plain PyTorch": lambda z=z, c=c: plain(z, c),
                "two bare products": lambda z=z, c=c: bare(z, c),
            },
            rounds=5 if num >= 100_000 else 51,
        )
        report.values[num] = found
        print(num, found, file=sys.stderr, flush=True)
    for num in MARKED:
        found, name = report.values[num], f"{num:,} centres"
        time = found["semcentres"]
        report.marks += [
            Mark(f"time over plain PyTorch's, {name}", time / found["plain PyTorch"], 0.25),
            Mark(f"time over the bare products', {name}", time / found["two bare products"], 1.2),
            Mark(f"blocks' time over the fused one, {name}", found["in blocks"] / time, 2.0),
            Mark(f"extra memory in MiB, {name}", extra_mib(num, "ours"), 64),
        ]
        report.notes.append(f"plain PyTorch, {name}: {extra_mib(num, 'plain'):,.0f} MiB extra")
    ten = report.values[10]
    report.marks.append(
        Mark("time over plain PyTorch's, 10 centres", ten["semcentres"] / ten["plain PyTorch"], 1.1)
    )
    z, c = data(100_000)
    difference = (slope(ours(z.double(), c.double())) - slope(plain(z.double(), c.double()))).abs()
    report.notes.append(f"largest difference of gradients in float64: {difference.max():.1e}")
    return report


def data(num: int) -> tuple[Tensor, Tensor]:
    """Return embeddings and centres."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(BATCH + num, WIDTH, generator=generator)
    rows = torch.nn.functional.normalize(rows, dim=1)
    return rows[:BATCH].clone(), rows[BATCH:].clone()


def ours(z: Tensor, c: Tensor) -> Tensor:
    """Value and gradient by semcentres."""
    z = z.clone().requires_grad_()
    softmin(z, c, temperature=TEMPERATURE).sum().backward()
    return z


def plain(z: Tensor, c: Tensor) -> Tensor:
    """The same as it is written down."""
    z = z.clone().requires_grad_()
    (2 - TEMPERATURE * torch.logsumexp(2 / TEMPERATURE * (z @ c.T), dim=1)).sum().backward()
    return z


def bare(z: Tensor, c: Tensor) -> Tensor:
    """The two matrix products of value and gradient, and nothing else."""
    return (z @ c.T) @ c


def slope(z: Tensor) -> Tensor:
    """Return the gradient that backward left."""
    assert z.grad is not None
    return z.grad


def extra_mib(num: int, way: str) -> float:
    """Return the peak memory beyond the data's, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.softmin", str(num), way],
        check=True,
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout)


def peak_mib() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    work = {"ours": ours, "plain": plain}[sys.argv[2]]
    few = data(2_000)
    work(*few)  # what the first call loads is not counted
    embeddings, centres = data(int(sys.argv[1]))
    before = peak_mib()
    # The peak of making the data may hide a smaller one after it: so it is filled up first.
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    current = pages * resource.getpagesize() / 2**20
    padding = torch.ones(int(max(0, before - current) * 2**18))
    before = peak_mib()
    work(embeddings, centres)
    print(peak_mib() - before)
