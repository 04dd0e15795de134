"""Pieces every tab uses: notes beside what they are about, and the options of events."""

from __future__ import annotations

import html
from collections.abc import Sequence

import gradio as gr

LANE = {"concurrency_id": "lane", "concurrency_limit": 64}
"""For events that do heavy work: they all wait in the workshop's lane, which tells each visitor how many are before."""


def note(text: str = "", *, elem_id: str | None = None) -> gr.Markdown:
    """A line for what happens or went wrong, read out by screen readers; put it next to what it is about."""
    return gr.Markdown(text, elem_classes=["note"], elem_id=elem_id, container=False)


def trouble(text: str) -> str:
    """An error's sentence as a note shows it."""
    return f"⚠ {plain(text)}" if text else ""


def plain(text: str) -> str:
    """Text from a visitor made harmless inside Markdown."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]()#!|~$" else c for c in escaped)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of plain text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c if c == "---" else plain(c) for c in line) + " |" for line in lines)
