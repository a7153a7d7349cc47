"""Progress of a long run: a bar on a terminal, plain lines elsewhere; both on standard error."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """Show how far a run is; a context manager."""

    def __init__(self, total: int, done: int = 0) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = Console(stderr=True)
        self._bar = Bar(
            *columns,
            TextColumn("{task.description}"),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
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
        if self._bar.disable:
            print(f"step {done}/{self._total}  {text}", file=sys.stderr, flush=True)  # noqa: T201
