"""What stands before every route: who may ask, and what a browser may do with the answer."""

from ipaddress import ip_address
from typing import final
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@final
class Guard:
    """Refuse requests that another page makes through a visitor's browser; add safe headers.

    A page can make its own host name mean 127.0.0.1 (DNS rebinding), so names other than ours are
    refused; a number cannot be made to mean another. And it can send here what needs no answer, so
    a change must come from our own page, or from no page.

    Args:
        app: what is guarded.
        host: the name or number that the server listens at.
    """

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._names = {"localhost", host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        answer = self._app if refusal is None else JSONResponse({"error": refusal}, 403)
        await answer(scope, receive, send_safely)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"this server is not {host[:100]!r}; open it by the address that it printed"
        origin = headers.get("origin")
        if method in ("GET", "HEAD") or origin is None or urlsplit(origin).netloc == host:
            return None
        return "another page may not change anything here"

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._names or bool(ip_address(name))
        except ValueError:
            return False
