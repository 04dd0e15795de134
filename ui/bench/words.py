"""Words as chips: each marked known, far or unknown to the model, beside the field they were written in."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.workshop.parts import LANE, trouble
from ui.workshop.session import Tell, Visit, Workshop

if TYPE_CHECKING:
    from concept_edit.familiar import Familiar

MOST = 200
"""Words of one field."""
_MARKED = 24
"""Words of a long list that are marked."""
_SIGNS = {"known": "✓", "far": "~", "unknown": "?"}


def split(text: str) -> list[str]:
    """Words or phrases of a field: one a line, or parted by ';' or ','.

    Raises:
        ValueError: none, or more than `MOST`.
    """
    found = list(dict.fromkeys(part.strip() for part in re.split(r"[;,\n]", text or "") if part.strip()))
    if not found:
        raise ValueError("write a word first, such as one of the examples")
    if len(found) > MOST:
        raise ValueError(f"{len(found)} words are more than this page takes; longer lists are for the command line")
    return found


def looked_up(workshop: Workshop, visit: Visit, words: Sequence[str]) -> list[Familiar]:
    """What the visitor's model knows of the first of them; inside the lane."""
    from concept_edit.familiar import familiar

    return familiar(workshop.model(visit.model), list(words)[:_MARKED])


def chips(found: Sequence[Familiar], more: int = 0) -> str:
    """The words with their marks."""
    parts = [
        f'<li class="chip {each.verdict}" title="{html.escape(each.sentence)}"><span aria-hidden="true">'
        f"{_SIGNS[each.verdict]}</span> {html.escape(each.word)} <small>{_tail(each)}</small></li>"
        for each in found
    ]
    parts += [f'<li class="chip">and {more} more</li>'] if more > 0 else []
    return f'<ul class="chips-line" role="status">{"".join(parts)}</ul>'


def _tail(found: Familiar) -> str:
    if found.verdict == "known":
        return "known"
    if found.spelled:
        return f"unknown; did you mean {html.escape(found.spelled)}?"
    return "unknown to this model" if found.verdict == "unknown" else "far from what it knows"


def place(elem_id: str) -> gr.HTML:
    """Where the chips stand."""
    return gr.HTML("", elem_id=elem_id, elem_classes=["note-line"], padding=False, container=False, label="words")


def wire(workshop: Workshop, visit: gr.State, field: gr.Textbox, marks: gr.HTML, *, api_name: str) -> None:
    """Mark the field's words whenever it is left or changed."""

    def mark(visit: Visit, words: str = "") -> Iterator[str]:
        """Say of each word whether the model knows it."""

        def job(tell: Tell) -> str:
            asked = split(words)
            return chips(looked_up(workshop, visit, asked), len(asked) - _MARKED)

        if not (words or "").strip():
            yield ""
            return
        try:
            for news in workshop.work(visit, job, light=True):
                if news.done:
                    yield news.value
        except Exception as error:
            yield trouble(error)

    events: list[Any] = [field.change]
    gr.on(events, mark, [visit, field], marks, api_name=api_name, trigger_mode="always_last", **LANE)
