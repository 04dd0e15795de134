"""Pieces every tab uses: notes beside what they are about, and the options of events."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.workshop.lane import in_words
from ui.workshop.session import News, say

if TYPE_CHECKING:
    from PIL.Image import Image

LANE: dict[str, Any] = {"concurrency_id": "lane", "concurrency_limit": 64, "show_progress": "hidden"}
"""For events that do heavy work: they all wait in the workshop's lane, which tells each visitor how many are before."""
LIGHT: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
"""For events that only rearrange the page."""
_SHOWN = 384
"""Smaller pictures are enlarged to about this side, so that a small model's pictures can be looked at."""


def note(text: str = "", *, elem_id: str | None = None) -> gr.HTML:
    """A line for what happens or went wrong, read out by screen readers; it stands next to what it is about.

    Its values come from `says` and `trouble`, which make any text harmless.
    """
    return gr.HTML(
        says(text), label="note", elem_id=elem_id, elem_classes=["note-line"], container=False, padding=False
    )


def says(told: str | News) -> str:
    """A note's value: a sentence, or a job's news with its bar."""
    text, share = (told.text, told.share) if isinstance(told, News) else (told, None)
    if not text:
        return ""
    left = told.left if isinstance(told, News) else None
    text += f" · {in_words(left)} left" if left is not None else ""
    bar = "" if share is None else f'<progress max="1" value="{min(1.0, max(0.0, share)):.3f}">{share:.0%}</progress>'
    return f'<div class="note" role="status" aria-live="polite"><span>{html.escape(text)}</span>{bar}</div>'


def trouble(error: str | BaseException) -> str:
    """A note's value for an error: one sentence."""
    text = error if isinstance(error, str) else say(error)
    return f'<div class="note trouble" role="alert">{html.escape(text)}</div>'


def plain(text: str) -> str:
    """Text from a visitor made harmless inside Markdown."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]()#!|~$" else c for c in escaped)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of plain text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c if c == "---" else plain(c) for c in line) + " |" for line in lines)


def enlarged(image: Image) -> Image:
    """A picture large enough to be looked at on a page."""
    from PIL import Image as Images

    factor = max(1, _SHOWN // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Images.Resampling.BICUBIC)
