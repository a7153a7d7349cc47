"""How many pixels may be decoded at a time, by all threads together: it bounds their memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import final

# One of the largest images for every four processors, or many small ones.
PIXELS = 50_000_000 * max(1, (os.cpu_count() or 1) // 4)


@final
class Room:
    """Lets threads in while there is room; what needs more than all of it is let in alone.

    Args:
        total: of whatever the threads take.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = Condition()

    @contextmanager
    def __call__(self, need: int) -> Iterator[None]:
        """Hold a share of the room, once there is so much."""
        need = min(need, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= need)
            self._free -= need
        try:
            yield
        finally:
            with self._changed:
                self._free += need
                self._changed.notify_all()


decoding = Room(PIXELS)
