"""What a card keeps as it is: the neighbours by itself, or what the visitor names; the drawer says how many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from concept_edit.demo.concepts import CONCEPTS, STYLES
from concept_edit.demo.recipes import kept, scenes
from concept_edit.recipe import normal
from ui.bench.words import split
from ui.workshop.card import Shared
from ui.workshop.lists import lines_of
from ui.workshop.parts import LIGHT
from ui.workshop.session import EMBEDDED, Visit

_NAMES = {normal(each.name): each.name for each in (*STYLES, *CONCEPTS)}


def neighbours(model: str, words: Sequence[str]) -> tuple[str, ...]:
    """What is kept when nobody says what to keep: all that an embedded model knows, everyday things elsewhere."""
    if not model.startswith(EMBEDDED):
        from concept_edit.evaluation.sets import EVERYDAY

        gone = {normal(word) for word in words}
        return tuple(name for name in EVERYDAY if normal(name) not in gone)
    erased = [_NAMES.get(normal(word), word) for word in words]
    return tuple(dict.fromkeys((*kept(*erased), *scenes(*erased))))


def lay_out(card: str, words: str) -> tuple[gr.Accordion, gr.Textbox]:
    """The closed drawer and its field; `words` stand in the sentence when the card opens."""
    with gr.Accordion(_label(EMBEDDED, words, ""), open=False) as drawer:
        field = gr.Textbox(
            "", label="Keep as it is, one a line", lines=3, elem_id=f"{card}-keep",
            placeholder="empty: every neighbour the model is known to have",
        )  # fmt: skip
    return drawer, field


def wire(shared: Shared, words: gr.Textbox, drawer: gr.Accordion, field: gr.Textbox) -> None:
    """Let the drawer say how many are kept."""

    def count(visit: Visit, words: str = "", keep: str = "") -> Any:
        return gr.update(label=_label(visit.model, words, keep))

    gr.on(
        [words.change, field.change, shared.model.change], count, [shared.visit, words, field], drawer,
        api_visibility="private", trigger_mode="always_last", **LIGHT,
    )  # fmt: skip


def _label(model: str, words: str, keep: str) -> str:
    own = lines_of(keep or "")
    if own:
        return f"Keep: {len(own)} of your own · change"
    try:
        names = split(words)
    except ValueError:
        names = []
    return f"Keep: {len(neighbours(model, names))} neighbours, automatic · change"
