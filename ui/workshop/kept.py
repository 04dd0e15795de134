"""The page's HTML, made once: Gradio copies and renders half a megabyte for every visitor, and it is the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from gzip import compress
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_MOST = 8
"""Addresses the page is kept for."""
_ADDRESS = (b"host", b"x-forwarded-host", b"x-forwarded-proto")
"""The headers of a request that its page depends on: the page names its own address."""


class KeptPage:
    """ASGI middleware that answers GET / from memory, packed. Only for a page that is the same for everybody: with
    passwords it holds the visitor's name, so leave it out there."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.pages: dict[tuple[Any, ...], Page] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = scope["type"] == "http" and (scope["method"], scope["path"], scope["query_string"]) == ("GET", "/", b"")
        if not plain:
            await self.app(scope, receive, send)
            return
        key = (scope.get("scheme"), *(sorted(pair for pair in scope["headers"] if pair[0] in _ADDRESS)))
        if key in self.pages:
            await self.pages[key].answer(send, packed=b"gzip" in dict(scope["headers"]).get(b"accept-encoding", b""))
        else:
            await self.app(scope, receive, self._keeping(key, send))

    def _keeping(self, key: tuple[Any, ...], send: Send) -> Send:
        """`send` that remembers a whole and good answer."""
        status, body = 0, bytearray()

        async def both(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            if ended and status == 200 and len(self.pages) < _MOST:
                self.pages[key] = Page(bytes(body), compress(bytes(body), 6))
            await send(message)

        return both


@dataclass(frozen=True)
class Page:
    """HTML, and the same packed."""

    plain: bytes
    gzip: bytes

    async def answer(self, send: Send, *, packed: bool) -> None:
        """Send it; `packed` where the browser takes gzip."""
        body = self.gzip if packed else self.plain
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")] if packed else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
