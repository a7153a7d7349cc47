"""Connections whose requests do not come to an end: they are closed, so that others find room.

uvicorn waits for a request as long as it takes; some hundred clients that send a byte a second
would keep everybody out.
"""

import asyncio
from typing import final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

WAIT = 10.0  # seconds between two looks; a request that is the same and unfinished at both is late


@final
class Impatient(H11Protocol):
    """HTTP as uvicorn speaks it, with a limit to how long a request may take to arrive.

    Of an answer there is none: it may take as long as it needs.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look."""
        super().connection_made(transport)
        self._look_later()

    def _look_later(self) -> None:
        # Of a connection that was closed meanwhile nothing is kept longer than this.
        self.loop.call_later(WAIT, self._look, self.cycle)

    def _look(self, seen: object) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is seen and self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self.transport.abort()
        else:
            self._look_later()
