"""JSON of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; a diffusers folder has it: is this one complete?")
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; fetch it again.")
    return content
