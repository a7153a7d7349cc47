"""Progress of a long run: a bar on a terminal, plain lines elsewhere; both on standard error."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PATIENCE = 5.0  # seconds of silence


class Stopwatch:
    """Add up the seconds spent within it, also over a run that was stopped and resumed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> "Stopwatch":
        """Start."""
        self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.seconds += time.monotonic() - self._began

    def state_dict(self) -> dict[str, float]:
        """Return what was counted."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Count on from there."""
        self.seconds = state["seconds"]


class Progress:
    """Show how far a run is, unless `show` is off; a context manager."""

    def __init__(self, total: int, done: int = 0, *, show: bool = True) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = Console(stderr=True)
        self._bar = Bar(
            *columns,
            TextColumn("{task.description}"),
            console=self._console,
            disable=not (show and sys.stderr.isatty()),
        )
        self._lines = show and self._bar.disable
        self._task = self._bar.add_task("", total=total, completed=done)
        self._total = total

    def __enter__(self) -> "Progress":
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._bar.stop()

    def show(self, done: int, numbers: Mapping[str, Any], **more: float) -> None:
        """Show the numbers of a step."""
        numbers = {**numbers, **more}
        shown = {k: v for k, v in numbers.items() if k != "step" and not isinstance(v, list)}
        text = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        self._bar.update(self._task, completed=done, description=text)
        if self._lines:
            print(f"step {done}/{self._total}  {text}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def counting(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Give a function to tell how many more are done; nothing is shown of what is soon over."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    quiet = not console.is_terminal  # where the bar would leave an empty line
    bar = Bar(*columns, console=console, transient=True, auto_refresh=False, disable=quiet)
    task = bar.add_task("", total=total)
    done, next_time = 0, time.monotonic() + PATIENCE

    def count(more: int) -> None:
        nonlocal done, next_time
        done += more
        if time.monotonic() < next_time:
            return
        if quiet:
            print(f"{done}/{total} {what}", file=sys.stderr, flush=True)  # noqa: T201
            next_time += PATIENCE
        else:
            bar.start()
            bar.update(task, completed=done, refresh=True)
            next_time += 0.2

    try:
        yield count
    finally:
        bar.stop()
