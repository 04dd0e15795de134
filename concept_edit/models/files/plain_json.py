"""JSON of a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from concept_edit.reading.plain import read_object


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder.

    Raises:
        ValueError: it is missing, or holds no JSON object.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing; a diffusers folder has it: is this one complete?")
    return read_object(path, finite=False)
