"""A visitor's own models: `.safetensors` streamed into the visitor's folder, bounded, under a name nobody can guess.

The page sends PUT ./models/<secret>/<name>; the secret is drawn for each visit and told to its page alone. Nothing is
held in memory, nothing is unpickled, and what is no safetensors file is removed at once.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ui.workshop.kept import App, Receive, Scope, Send

if TYPE_CHECKING:
    from ui.workshop.session import Workshop

PATH = re.compile(r"/models/([\w-]{20,64})/([^/]{1,160})")
NAME = re.compile(r"[\w .+()\[\]-]{1,120}\.safetensors")
_ENCODERS = ("model.embed_tokens.", "model.layers.", "encoder.block.", "text_model.", "shared.weight")
"""How the tensors of a text encoder's own file begin: ComfyUI keeps them in `text_encoders/`."""
_SPARE = 500_000_000
"""Bytes of the disk that stay free."""


class Refused(ValueError):  # noqa: N818
    """Why an upload was not taken, with its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Uploads:
    """ASGI middleware that answers PUT /models/<secret>/<name> of one workshop."""

    def __init__(self, app: App, workshop: Workshop) -> None:
        self.app, self.workshop = app, workshop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/models/"):
            await self.app(scope, receive, send)
            return
        try:
            told = await self._taken(scope, receive)
            await _answer(send, 200, told)
        except Refused as error:
            await _answer(send, error.status, {"error": str(error)})
        except OSError as error:
            await _answer(send, 507, {"error": f"the file could not be kept: {error.strerror}"})

    async def _taken(self, scope: Scope, receive: Receive) -> dict[str, str]:
        found = PATH.fullmatch(scope["path"])
        limit = self.workshop.settings.upload_limit
        if scope["method"] != "PUT" or found is None:
            raise Refused(404, "not found")
        visit = self.workshop.visits.get(found[1])
        if visit is None or visit.closed:
            raise Refused(404, "this page's visit is over; reload it")
        if not limit:
            raise Refused(403, "this server takes no models; put the file into its --checkpoints folder")
        name = unquote(found[2])
        if not NAME.fullmatch(name) or name.startswith("."):
            raise Refused(400, f"{name[:60]!r} is no name of a model; give a .safetensors file with a plain name")
        size = int(dict(scope["headers"]).get(b"content-length", b"0"))
        if size > limit:
            raise Refused(413, f"{name} has {size / 1e9:.1f} GB and this server takes up to {limit / 1e9:.1f} GB")
        if shutil.disk_usage(visit.folder).free < size + _SPARE:
            raise Refused(507, f"there is no room for {size / 1e9:.1f} GB on the server's disk")
        part = visit.folder / f"{name}.part"
        try:
            await _stream(receive, part, limit)
            target = visit.folder / "models" / _kind(part) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return {"name": name, "kind": target.parent.name}


async def _stream(receive: Receive, target: Path, limit: int) -> None:
    taken = 0
    with target.open("wb") as out:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the upload was broken off; nothing of it was kept")
            body = message.get("body", b"")
            taken += len(body)
            if taken > limit:
                raise Refused(413, f"the file is larger than the {limit / 1e9:.1f} GB this server takes")
            out.write(body)
            if not message.get("more_body", False):
                return


def _kind(path: Path) -> str:
    """`text_encoders` or `diffusion_models`, by the names of its tensors; refused where it is no safetensors file."""
    from concept_edit.reading.tables import contents, opened

    try:
        with opened(path, "np") as file:
            names = list(contents(file))
    except (ValueError, OSError) as error:
        raise Refused(400, f"{path.name.removesuffix('.part')} is no safetensors file that can be read") from error
    if not names:
        raise Refused(400, f"{path.name.removesuffix('.part')} holds no tensors")
    return "text_encoders" if any(name.startswith(_ENCODERS) for name in names) else "diffusion_models"


async def _answer(send: Send, status: int, told: Mapping[str, str]) -> None:
    body = json.dumps(told).encode()
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
