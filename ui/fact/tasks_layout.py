"""The drawer of heads and vectors."""

from __future__ import annotations

from ui.workshop.card import Shared


def build(shared: Shared) -> None:
    """Lay it out and wire it."""
