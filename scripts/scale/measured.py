"""The constants of this machine and real runs, in turns, since a machine is not always as fast."""

import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from scale import model
from scale.between import NUMBERS
from scale.constants import ENCODERS
from scale.model import Known, Workload
from scale.runs import COLLECTIONS, EMPTY, SHARED, TRAININGS
from scale.work import started

ROUNDS = 3
WAYS = ("sum", "gather", "scatter")
Found = dict[str, Any]


def measured() -> Found:
    """Return the constants, medians of rounds, and what the model says of the real runs."""
    loads = [replace(load, ranks=ranks) for load in TRAININGS for ranks in (1, 2)]
    loads += [replace(load, ranks=2, shard=True) for load in SHARED]
    jobs = [("training", load) for load in loads]
    jobs += [("collection", replace(load, ranks=ranks)) for load in COLLECTIONS for ranks in (1, 2)]
    wide = {ranks: middle(started("collectives", ranks)) for ranks in (3, 4)}
    rounds, done = [], []
    for turn in range(ROUNDS):
        rounds.append(one_round(wide))
        done += [(what, load, started(what, load.ranks, load)) for what, load in jobs[turn::ROUNDS]]
    known = middle(rounds)
    rows = [row for what, load, found in done for row in compared(what, load, found, known)]
    rows += of_collectives(known)
    rows.sort(key=lambda row: (row["quantity"], row["processes"], row["modelled"]))
    about = {
        "machine_name": f"{platform.system()} {platform.machine()},"
        f" {torch.backends.cpu.get_cpu_capability()}",
        "torch": torch.__version__,
    }
    return {**about, **known, "checks": rows}


def one_round(wide: dict[int, Found]) -> Found:
    """Return all constants once, from what three processes and four have said to one another."""
    (alone,), joint = started("constants", 1), middle(started("joint", 2), max)
    said = {2: joint.pop("said"), **wide}
    one, two = (middle(started("training", ranks, EMPTY), max) for ranks in (1, 2))
    for name, found in joint.items():
        alone[name] |= {f"joint {key}": value for key, value in found.items()}
        # The model counts calls by themselves: four of each layer.
        calls = 4 * alone[name]["norms"] * said[2]["call"]
        alone[name]["joint both"] -= calls / ENCODERS[name][3]
    between = {way: said[2][way]["seconds"] / said[2][way]["sent"] for way in WAYS}
    between |= {"call": 0.0, "turn": (said[4]["call"] - said[2]["call"]) / 2}
    known = {
        **alone,
        "machine": {**alone["machine"], "step": 0.0, "empty": one["memory"]},
        "between": {**between, "empty": two["memory"], "said": said},
    }
    # In a step processes wait for one another as they do not in a row of calls: what a step of next
    # to nothing takes more by two processes is that of its calls.
    known["machine"]["step"] = one["step"] - model.step_seconds(EMPTY, known)
    both = replace(EMPTY, ranks=2)
    more = two["step"] - model.step_seconds(both, known)
    known["between"]["call"] = more / model.calls(both, known)
    return known


def middle(found: Sequence[Found], of: Callable[..., Any] = statistics.median) -> Found:
    """Return the median of each number of alike nested dictionaries, or what else is `of` them."""
    return {
        key: middle([each[key] for each in found], of)
        if isinstance(value, dict)
        else of(each[key] for each in found)
        for key, value in found[0].items()
    }


def compared(what: str, load: Workload, found: Sequence[Found], known: Known) -> Iterator[Found]:
    """Yield lines of the table for a run, from what each of its processes has found."""
    run, ranks = f"N={load.images:,}, D={load.dimension}", load.ranks
    if what == "collection":
        for name, modelled in (
            ("embedding", model.embedding_seconds(load, known)),
            ("writing", model.writing_seconds(load, known)),
            ("search", model.search_seconds(load, known)),
        ):
            more = f", Q={load.queries:,}" if name == "search" else ""
            yield row(f"{name}, seconds", run + more, ranks, found[0][name], modelled)
        if ranks > 1:
            said = (found[0]["search sent"], model.search_bytes(load))
            yield row("sent in a search, bytes", f"{run}, Q={load.queries:,}", ranks, *said)
        return
    run = f"{load.encoder}, {run}, K={load.classes:,}, B={load.batch}"
    run += ", shared weights" if load.shard else ""
    slowest = max(each["step"] for each in found)
    yield row("a step, seconds", run, ranks, slowest, model.step_seconds(load, known))
    empty = known["machine" if ranks == 1 else "between"]["empty"]
    held = max(each["memory"] for each in found) - empty
    # Here the bank is not mapped.
    wanted = sum(model.memory_bytes(load, known).values()) + 4 * load.classes * load.dimension
    yield row("memory, bytes", run, ranks, held, wanted)
    if ranks > 1:
        said = statistics.mean(each["sent"] for each in found)
        wanted = sum(model.sent_bytes(load, known).values())
        yield row("sent in a step, bytes", run, ranks, said, wanted)


def of_collectives(known: Known) -> Iterator[Found]:
    """Yield lines of the table for what two processes, three and four say to one another."""
    whole = 4.0 * NUMBERS
    for ranks, found in known["between"]["said"].items():
        for way, share in (("sum", 2), ("gather", 1), ("scatter", 2)):
            wanted = share * (ranks - 1) / ranks * whole
            yield row(f"sent in a {way}, bytes", "12 MiB", ranks, found[way]["sent"], wanted)
    said, turn = known["between"]["said"], known["between"]["turn"]
    yield row("a call, seconds", "4 B", 3, said[3]["call"], said[2]["call"] + turn)


def row(quantity: str, run: str, ranks: int, found: float, wanted: float) -> Found:
    """Return a line of the table."""
    return {
        "quantity": quantity, "run": run, "processes": ranks, "measured": found,
        "modelled": wanted,
    }  # fmt: skip
