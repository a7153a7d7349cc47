"""Who does the numbered parts of a work: this process, those of torchrun, or actors of Ray.

A part may be done again where a process has died, so doing it twice must come to the same.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from centre_builders.errors import InputError, UsageError

Engine = Literal["local", "torchrun", "ray"]
Work = Callable[[int], None]

RETRIES = 3  # of a part whose actor has died; what kills it each time would never end


def check_engine(engine: str) -> None:
    """Refuse an engine that does not fit how this process was started.

    Raises:
        UsageError: torchrun is needed and has not started it, or has started several for another.
    """
    started = "TORCHELASTIC_RUN_ID" in os.environ
    if engine == "torchrun" and not started:
        raise UsageError(
            "engine=torchrun is for processes that torchrun starts; write:"
            " torchrun --nproc-per-node=2 -m semcentres embed engine=torchrun ..."
        )
    several = int(os.environ.get("WORLD_SIZE", 1)) if started else 1
    if engine != "torchrun" and several > 1:
        raise UsageError(
            f"torchrun started {several} processes, and engine={engine} is one; add"
            " engine=torchrun, or start it without torchrun"
        )


def each_part(engine: str, numbers: range, work: Work, start: Callable[[], Work]) -> Iterator[int]:
    """Return the numbers of the parts that are done, as soon as they are.

    Args:
        engine: who does them, checked by `check_engine`.
        numbers: of the parts, all of them or, under torchrun, this process's own.
        work: does a part in this process.
        start: returns `work` in a process of its own; it is pickled.
    """
    if engine == "ray":
        yield from _by_ray(numbers, start)
        return
    for number in numbers:
        work(number)
        yield number


class _Actor:
    """Begins once, then does parts."""

    def __init__(self, start: Callable[[], Work]) -> None:
        self._work = start()

    def do(self, number: int) -> int:
        """Do a part and return its number."""
        self._work(number)
        return number


def _by_ray(numbers: range, start: Callable[[], Work]) -> Iterator[int]:
    """Do them by as many actors as the cluster has GPUs or, without any, processors.

    Not by Ray Data: nothing flows through Ray, as a part goes to a file; and where actors hold all
    processors, its own tasks, which would give them rows, wait for one for ever.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ModuleNotFoundError as error:
        raise InputError(f"no {error.name}; install the extra: semcentres[ray]") from error
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS")
        # Without an address, Ray on this machine alone, which ends with this process.
        alone = {} if address else {"_node_ip_address": "127.0.0.1"}
        try:
            if address:
                _reach(address)
            ray.init(include_dashboard=False, logging_level="error", log_to_driver=False, **alone)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no Ray cluster at RAY_ADDRESS={address}; mend the address, or unset it"
            ) from error
    try:
        unit, there = _units(ray.cluster_resources())
        each = {f"num_{unit.lower()}s": 1, "max_restarts": RETRIES, "max_task_retries": RETRIES}
        actor = ray.remote(**each)(_Actor)
        actors = [actor.remote(start) for _ in range(min(len(numbers), there))]
        yield from ActorPool(actors).map_unordered(lambda one, n: one.do.remote(n), list(numbers))
    except ray.exceptions.RayError as error:
        raise _of_actor(error) from error
    finally:
        if started:
            ray.shutdown()


def _units(resources: Mapping[str, float]) -> tuple[str, int]:
    """Return what an actor has one of, GPU or CPU, and how many the cluster has.

    Raises:
        InputError: it has neither.
    """
    for unit in ("GPU", "CPU"):
        if (num := int(resources.get(unit, 0))) > 0:
            return unit, num
    raise InputError("the Ray cluster has neither a GPU nor a processor to embed by; add nodes")


def _reach(address: str) -> None:
    """Raise an OSError where nothing listens at `host:port`; Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:  # else a word such as auto
        socket.create_connection((host, int(port)), timeout=10).close()


def _of_actor(error: BaseException) -> InputError:
    """Return the error that an actor has met, or one that says that actors die."""
    # Not `error` itself: Ray makes it of both classes, and its text is a whole traceback.
    met = getattr(error, "cause", None)
    if isinstance(met, InputError):
        return met
    last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return InputError(f"Ray has given up: {last}; run again to go on")
