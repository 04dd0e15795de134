"""The page's HTML, made once: Gradio copies and renders half a megabyte for every visitor, and it is the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
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
    """ASGI middleware that answers GET / from memory. Only for a page that is the same for everybody: with passwords
    it holds the visitor's name, so leave it out there."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.pages: dict[tuple[Any, ...], list[MutableMapping[str, Any]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = scope["type"] == "http" and (scope["method"], scope["path"], scope["query_string"]) == ("GET", "/", b"")
        if not plain:
            await self.app(scope, receive, send)
            return
        key = (scope.get("scheme"), *(sorted(pair for pair in scope["headers"] if pair[0] in _ADDRESS)))
        if key not in self.pages:
            await self.app(scope, receive, self._keeping(key, send))
            return
        for message in self.pages[key]:
            await send(message)

    def _keeping(self, key: tuple[Any, ...], send: Send) -> Send:
        """`send` that remembers a whole and good answer."""
        heard: list[MutableMapping[str, Any]] = []

        async def both(message: MutableMapping[str, Any]) -> None:
            heard.append(message)
            if _ended(message) and heard[0].get("status") == 200 and len(self.pages) < _MOST:
                self.pages[key] = heard
            await send(message)

        return both


def _ended(message: MutableMapping[str, Any]) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body", False)
