"""The releases of a folder, one a line, each with the one before as its parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concept_edit.reading.plain import parse_json, read_text


def read_history(path: Path) -> list[dict[str, Any]]:
    """The releases of a folder, oldest first; empty where there was none.

    Raises:
        ValueError: a line that is no release.
    """
    lines = read_text(path).splitlines() if path.is_file() else []
    return [_entry(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def history_faults(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where a chain of releases is broken."""
    parents = [None, *(entry["manifest"] for entry in entries)]
    return [
        f"release {number} names another parent than release {number - 1}"
        for number, (entry, parent) in enumerate(zip(entries, parents, strict=False), 1)
        if entry["parent"] != parent
    ]


def _entry(line: str, name: str) -> dict[str, Any]:
    found = parse_json(line, name)
    told = [found.get(key) for key in ("manifest", "parent", "when")] if isinstance(found, dict) else []
    if not told or not isinstance(told[0], str) or not isinstance(told[1], str | None) or not isinstance(told[2], str):
        raise ValueError(f"{name}: no release, which names its manifest, its parent and its time")
    return dict(zip(("manifest", "parent", "when"), told, strict=True))
