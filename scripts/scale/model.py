"""What a run needs by arithmetic, from the constants of one machine.

With N images in V views, B of them a step, K centres of D numbers, P weights in T tensors, L
normalising layers of C channels in all, and R processes of one thread each on M machines, a step
takes

    B V / R (view + both)                   the process's share of the images, there and back
    + V B D S softmin                       the soft-min over S centres: K, or K / R of many
    + P update                              optimiser and averaged weights
    + bytes sent, by collective, and calls  what R > 1 processes say to one another
    + a step of next to nothing

Each process sends 2 (R - 1) / R of the bytes that are summed, in a ring, and (R - 1) / R of those
that are gathered. So does gloo (https://github.com/facebookincubator/gloo/blob/
1d9e62aff9d7143129a69c8eb23e8351e686ff3a/gloo/allreduce.cc, and allgather.cc beside it), and so does
NCCL (https://github.com/NVIDIA/nccl-tests/blob/03a204a1f38aaea17f1a777885bb2d9600ba7eff/doc/
PERFORMANCE.md), save that gloo as PyTorch calls it sums all where a share of the sum is asked for
("scatter"), which NCCL does with half the bytes. A call takes a turn more for each process.

Image files are decoded once, before the first step, by the threads of one process a machine, and
mapped from a file then; when the last step is done, all processes embed them to be assessed.

Nothing overlaps in the model. Where it errs, and to which side, the checks say (scale/runs.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from semcentres.softmin import LARGE

PART = 16_384  # rows of a part, and k of a search
NEIGHBOURS = 20
QUERIES = 1024  # that are sent at a time
BUCKET = 25 << 20  # bytes of gradients that DDP sums in one call
Known = Mapping[str, Any]


@dataclass(frozen=True)
class Workload:
    """A task, and the processes that it is given to.

    Args:
        images: N, trained on, embedded and searched.
        classes: K.
        dimension: D.
        encoder: of the constants.
        batch: B of all processes together.
        views: V.
        passes: over the images.
        ranks: R.
        machines: M.
        mapped: whether images are JPEG files that are decoded onto the disk, too many for memory.
        shard: whether processes share the weights, as by `trainer.shard`.
        queries: Q of the search.
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
    shard: bool = False
    queries: int = 10_000

    @property
    def seen(self) -> float:
        """Images in all views that a process has of a step."""
        return self.batch * self.views / self.ranks

    @property
    def shares(self) -> bool:
        """Whether there is somebody to share the weights with."""
        return self.shard and self.ranks > 1


def step_seconds(load: Workload, known: Known) -> float:
    """Return what a training step takes."""
    of, machine, ranks = known[load.encoder], known["machine"], load.ranks
    images = load.seen * (of["view"] + (of["both"] if ranks == 1 else of["joint both"]))
    own = load.classes / ranks if load.classes > LARGE else load.classes
    loss = load.batch * load.views * load.dimension * own * machine["softmin"]
    spent = machine["step"] + images + loss + num_weights(load, known) * of["update"]
    sent = sent_bytes(load, known)
    told = sum(sent[way] * known["between"][way] for way in sent)
    return float(spent + told + calls(load, known) * call_seconds(ranks, known))


def num_weights(load: Workload, known: Known) -> int:
    """Return P."""
    of = known[load.encoder]
    return int(of["weights"] + load.dimension * of["weights a dimension"])


def sent_bytes(load: Workload, known: Known) -> dict[str, float]:
    """Return what each process sends in a training step, by collective."""
    of, others = known[load.encoder], (load.ranks - 1) / load.ranks
    weights, rows = 4.0 * num_weights(load, known), 4.0 * load.batch * load.views
    # Sums and number there, and twice as much again for the variance and on the way back.
    summed = 4.0 * (4 * of["channels"] + 2 * of["norms"])
    if load.classes > LARGE:  # the largest, the weight and the mean of each process's centres
        summed += rows * (load.dimension + 2)
    gathered = rows * load.dimension
    if load.shard:  # weights there and back, and for the average
        gathered += 3 * weights
    else:
        summed += weights
    return {
        "sum": 2 * others * summed,
        "gather": others * gathered,
        "scatter": 2 * others * weights if load.shard else 0.0,
    }


def calls(load: Workload, known: Known) -> int:
    """Return how often processes wait for one another in a step."""
    if load.ranks == 1:
        return 0
    of = known[load.encoder]
    many = 2 * load.views if load.classes > LARGE else 0
    buckets = 2 + ceil(4 * num_weights(load, known) / BUCKET)  # a first small one, and the buffers
    weights = 3 * of["parts"] + of["tensors"] if load.shard else buckets
    return int(3 + 4 * of["norms"] + many + weights)  # 3: embeddings, is it finite, signals


def call_seconds(ranks: int, known: Known) -> float:
    """Return what a call takes in which next to nothing is said."""
    between = known["between"]
    return float(between["call"] + (ranks - 2) * between["turn"]) if ranks > 1 else 0.0


def memory_bytes(load: Workload, known: Known) -> dict[str, float]:
    """Return what a process holds in training, above what one does that has nothing to do."""
    of, ranks, num = known[load.encoder], load.ranks, num_weights(load, known)
    # Weights, gradients, two moments and the average, of 4 bytes each; DDP's buckets.
    weights = (20.0 if ranks == 1 else 24.0) * num
    if load.shares:  # the average is whole, and so is the largest part at work, with its gradient
        weights = (4 + 16 / ranks) * num + 8.0 * of["largest part"]
    logits = 2 * load.classes if load.classes <= LARGE else 0
    activations = of["activations" if ranks == 1 else "joint activations"]
    listed = known["machine"]["listed"] if load.mapped else of["pixels"]
    return {
        "images": float(load.images * listed),  # or, of files, their list
        "weights and their like": weights,
        # Views are floats, and are put together.
        "activations": load.seen * (activations + 8.0 * of["pixels"]),
        "loss": 4.0 * load.batch * load.views * (3 * load.dimension + logits),
    }


def embedding_seconds(load: Workload, known: Known) -> float:
    """Return what embedding all images takes."""
    of = known[load.encoder]
    each = of["forward"] + (of["decode"] if load.mapped else 0.0)
    return float(load.images * each / load.ranks)


def writing_seconds(load: Workload, known: Known) -> float:
    """Return what writing all parts takes; the processes of a machine share its disk."""
    write, parts = known["machine"]["write"], ceil(load.images / PART)
    of_part = parts * write["part"] + load.images * write["row"]
    return float(of_part / load.ranks + row_bytes(load) * write["byte"] / load.machines)


def row_bytes(load: Workload) -> float:
    """Return what the embeddings take."""
    return 4.0 * load.images * load.dimension


def search_seconds(load: Workload, known: Known) -> float:
    """Return what looking for all queries' neighbours among all images takes."""
    search, ranks = known["machine"]["search"], load.ranks
    each = search["pair"] + load.dimension * search["multiply"]
    said = search_bytes(load) * known["between"]["gather"]
    # What is asked for, the queries, and back: three calls a block.
    said += 3 * ceil(load.queries / QUERIES) * call_seconds(ranks, known)
    return float(load.queries * load.images / ranks * each + said)


def search_bytes(load: Workload) -> float:
    """Return what is sent in a search: queries to all others, their neighbours' keys back."""
    key = 8  # cosine and id as one integer: semcentres/exact_search.py
    return (load.ranks - 1) * load.queries * (4.0 * load.dimension + key * NEIGHBOURS)


def plan(load: Workload, known: Known) -> dict[str, float]:
    """Return bytes and seconds, by what they are for."""
    memory, step = memory_bytes(load, known), step_seconds(load, known)
    of, threads = known[load.encoder], load.ranks / load.machines
    empty = known["machine" if load.ranks == 1 else "between"]["empty"]
    whole = 12.0 * num_weights(load, known) if load.shares else 0.0
    held = {f"{name}, bytes a process": value for name, value in memory.items()}
    return {
        "bank, bytes a machine": 4.0 * load.classes * load.dimension,
        "decoded images, bytes of disk a machine": float(load.images * of["pixels"]),
        **held,
        "all of it and the program, bytes a process": sum(memory.values()) + empty,
        "more while a checkpoint is made, bytes a process": whole,
        "sent in a step, bytes a process": sum(sent_bytes(load, known).values()),
        "decoding before the first step, seconds": load.images * of["decode"] / threads,
        "a step, seconds": step,
        "training, seconds": load.images * load.passes / load.batch * step,
        "embedding to assess after the last step, seconds": load.images
        * of["forward"]
        / load.ranks,
        "embedding, seconds": embedding_seconds(load, known),
        "writing the parts, seconds": writing_seconds(load, known),
        "embeddings, bytes of disk": row_bytes(load),
        "exact index, bytes a machine": row_bytes(load) / load.machines,
        "exact search, seconds": search_seconds(load, known),
        "sent in the search, bytes in all": search_bytes(load),
    }
