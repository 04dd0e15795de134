"""Run twice, transplant, rank: which state of a network carries a fact, which heads carry a task."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concept_edit.search.heads import Heads, rank_heads
    from concept_edit.search.traces import Trace, trace

__all__ = ["Heads", "Trace", "rank_heads", "trace"]

_HOMES = {"Heads": "heads", "Trace": "traces", "rank_heads": "heads", "trace": "traces"}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): the hooks need torch alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
