"""What a run needs by arithmetic, from the constants of one machine.

With N images in V views, B of them a step, K centres of D numbers, P weights and R processes of one
thread each, a step takes

    B V / R (view + both)             making views, the encoder forward and backward; where R > 1,
                                      normalisation over all processes, with a constant each pass
    + B V D S softmin                 the soft-min over S centres: K, or K / R where they are shared
    + P update                        optimiser and averaged weights
    + calls call + 4 P reduce + 4 B V D / R gather      what R > 1 processes say to one another

and a process holds

    its images (all N where they are in memory; none where they are mapped)
    the bank (one a machine)
    20 P bytes of weights, gradients, two moments and averages
    B V / R activations

Embedding takes N (decode + forward) / R; of its rows N D 4 bytes are written; exact search takes
Q N D search / R. Nothing overlaps in the model, which errs to the safe side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHARED_FROM = 1024  # centres above which the ranks share the soft-min
CALLS = 4  # of a step: signals, gradients, embeddings, shards


@dataclass(frozen=True)
class Workload:
    """A task, and the processes that it is given to.

    Args:
        images: N, trained on and embedded.
        classes: K.
        dimension: D.
        encoder: of the constants.
        batch: B of all processes together.
        views: V.
        passes: E over the images.
        ranks: R, of one thread each.
        machines: that they are spread over.
        mapped: whether images are read from disk, as JPEG files, a step at a time.
        queries: of the search, Q.
    """

    images: int
    classes: int
    dimension: int
    encoder: str
    batch: int = 256
    views: int = 2
    passes: float = 1.0
    ranks: int = 1
    machines: int = 1
    mapped: bool = True
    queries: int = 10_000


def step_seconds(load: Workload, known: Mapping[str, Any]) -> float:
    """Return what a training step takes."""
    of, machine, ranks = known[load.encoder], known["machine"], load.ranks
    seen = load.batch * load.views
    shared = load.classes // ranks if load.classes > SHARED_FROM else load.classes
    read = of["decode"] * load.batch / ranks if load.mapped else 0.0
    work = seen / ranks * of["view"] + passes(load, known)
    loss = seen * load.dimension * shared * machine["softmin"]
    spent = read + work + loss + of["weights"] * of["update"]
    if ranks == 1:
        return float(spent)
    told = known["between"]
    sums = 4 * of["weights"] * told["reduce"]
    embeddings = 4 * seen * load.dimension / ranks * told["gather"]
    return float(spent + CALLS * told["call"] + sums + embeddings)


def passes(load: Workload, known: Mapping[str, Any]) -> float:
    """Return what a process's share of the images takes, forward and backward."""
    share = load.batch * load.views / load.ranks
    if load.ranks == 1:
        return float(share * known[load.encoder]["both"])
    joint = known["between"]["joint"][load.encoder]
    return float(joint["pass"] + share * joint["image"])


def plan(load: Workload, known: Mapping[str, Any]) -> dict[str, float]:
    """Return bytes of each process or of the disk, and seconds, by what they are for."""
    of, machine, ranks = known[load.encoder], known["machine"], load.ranks
    seen, steps = load.batch * load.views, load.images * load.passes / load.batch
    rows = 4.0 * load.images * load.dimension
    step = step_seconds(load, known)
    embed = load.images * ((of["decode"] if load.mapped else 0.0) + of["forward"])
    return {
        "bank, bytes a machine": 4.0 * load.classes * load.dimension,
        "images, bytes a process": 0.0 if load.mapped else load.images * of["pixels"],
        "weights and their like, bytes a process": 20.0 * of["weights"],
        "activations, bytes a process": of["activations"] * seen / ranks,
        "traffic, bytes a process and step": (
            0.0 if ranks == 1 else 8.0 * of["weights"] + 4.0 * seen * load.dimension
        ),
        "step, seconds": step,
        "training, seconds": steps * step,
        "embedding, seconds": embed / ranks + rows * machine["write"] / load.machines,
        "embeddings, bytes of disk": rows,
        "exact index, bytes a machine": rows / load.machines,
        "exact search, seconds": (
            load.queries * load.images * load.dimension * machine["search"] / ranks
        ),
        "search, traffic in bytes": (
            0.0 if ranks == 1 else load.queries * ranks * (4.0 * load.dimension + 12.0 * 20)
        ),
    }
