"""The soft-min by the nearest few of very many centres, against all of them by one fused pass."""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import Mark, Report, race
from semcentres.approximate import build_index
from semcentres.softmin import softmin
from semcentres.top_k_softmin import top_k_softmin

BATCH, WIDTH, TEMPERATURE, TOLERANCE = 256, 128, 0.05, 1e-3
SIZES = (1_000, 10_000, 100_000, 1_000_000)
NEAR = 0.9  # cosine of an embedding and its own centre: test images of README's quickstart have it
FEW = "the nearest few"
K, RECALL = 16, 0.1  # random directions have no lists of their own: more recall is a wider search


def measure() -> Report:
    """Return seconds of value and gradient for each number of centres."""
    report = Report(
        f"soft-min, forward and backward, {BATCH} embeddings at cosine {NEAR} from their centre,"
        f" {WIDTH} dimensions, tolerance {TOLERANCE:g}"
    )
    for num in SIZES:
        z, c = data(num)
        index = build_index(c.numpy(), kind="flat" if num < 10_000 else "ivf", recall=RECALL)

        def few(z: Tensor = z, c: Tensor = c, index: object = index) -> Tensor:
            z = z.clone().requires_grad_()
            found = top_k_softmin(z, c, index, temperature=TEMPERATURE, k=K, tolerance=TOLERANCE)
            found.values.sum().backward()
            return found.values.detach()

        def whole(z: Tensor = z, c: Tensor = c) -> Tensor:
            z = z.clone().requires_grad_()
            values = softmin(z, c, temperature=TEMPERATURE)
            values.sum().backward()
            return values.detach()

        report.values[num] = race({FEW: few, "all, fused": whole}, rounds=5)
        found = top_k_softmin(z, c, index, temperature=TEMPERATURE, k=K, tolerance=TOLERANCE)
        error = (few() - whole()).abs()
        told = f"{num:,} centres: largest error {error.max():.1e}, largest bound"
        told += (
            f" {found.bound.max():.1e}, {int(found.compared.sum())} of {BATCH} compared with all"
        )
        if not found.certain:
            told += f"; recall@{index.recall.k} {index.recall.value:.3f}"
        report.notes.append(told)
        print(report.values[num], told, file=sys.stderr, flush=True)
    first, last = report.values[SIZES[0]], report.values[SIZES[-1]]
    growth = last[FEW] / first[FEW]
    report.marks = [
        Mark("time over all centres', 1,000,000", last[FEW] / last["all, fused"], 0.2),
        Mark("growth of time from 1,000 to 1,000,000 centres over that of K", growth / 1000, 0.1),
    ]
    return report


def data(num: int) -> tuple[Tensor, Tensor]:
    """Return embeddings and centres."""
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(num, WIDTH, generator=generator), dim=1)
    rows = torch.randint(num, (BATCH,), generator=generator)
    noise = F.normalize(torch.randn(BATCH, WIDTH, generator=generator), dim=1)
    return F.normalize(NEAR * centres[rows] + (1 - NEAR**2) ** 0.5 * noise, dim=1), centres
