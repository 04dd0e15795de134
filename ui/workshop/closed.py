"""No address of a visitor's is ever asked for: Gradio fetches a URL that stands where an uploaded file should, and on a
server that stays inside that is a way out. Such calls are refused before Gradio sees them."""

from __future__ import annotations

import json
from typing import Any

from ui.workshop.kept import App, Receive, Scope, Send

LONGEST = 40_000_000
"""Bytes of the longest call; what is larger is a file, and files are uploaded."""
_SAID = b'{"error": "a file field takes an uploaded file, and no address; upload the file first"}'


class Closed:
    """ASGI middleware over every call of the page and of programs."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = scope["type"] == "http" and scope["method"] == "POST" and _is_json(scope)
        if not call:
            await self.app(scope, receive, send)
            return
        body, whole = bytearray(), False
        while not whole:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            whole = not message.get("more_body", False)
            if len(body) > LONGEST:
                await _refuse(send, 413)
                return
        if _asks_outside(bytes(body)):
            await _refuse(send, 400)
            return
        sent = False

        async def again() -> Any:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, again, send)


def _is_json(scope: Scope) -> bool:
    kind = dict(scope["headers"]).get(b"content-type", b"")
    return not kind.startswith((b"multipart/", b"application/x-www-form-urlencoded"))


def _asks_outside(body: bytes) -> bool:
    """Whether a file of the call is an address. What is no JSON is left to Gradio, which refuses it."""
    try:
        return _address(json.loads(body))
    except RecursionError:
        return True
    except ValueError:
        return False


def _address(value: Any) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            path = each.get("path")
            if isinstance(path, str) and "://" in path:
                return True
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
    return False


async def _refuse(send: Send, status: int) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_SAID)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": _SAID})
