"""The card's components, by name, for its layout and its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.fact.world import examples
from ui.workshop.running import Running
from ui.workshop.session import EMBEDDED, SMOLLM2, Workshop

LABELS = {EMBEDDED: "demo (toy: an invented world)", SMOLLM2: "SmolLM2 (135 million numbers, English)"}


@dataclass(frozen=True)
class Fields:
    """What is asked."""

    model: gr.Dropdown
    prompt: gr.Textbox
    subject: gr.Textbox
    old: gr.Textbox
    new: gr.Textbox
    wordings: gr.Textbox
    neighbours: gr.Textbox
    layer: gr.Number
    method: gr.Radio

    def all(self) -> list[Any]:
        """In the order the handlers take them."""
        return list(vars(self).values())


@dataclass(frozen=True)
class Parts:
    """Everything else that events need."""

    run: Running
    note: gr.HTML
    sentence: gr.HTML
    examples: gr.Radio
    verdict: gr.HTML
    why: gr.HTML
    map: gr.HTML
    answers: gr.HTML
    strength: gr.Slider
    undo: gr.Button
    redo: gr.Button
    past: gr.HTML
    figures: gr.HTML
    result: gr.JSON
    make: dict[str, gr.Button]
    file: dict[str, gr.DownloadButton]
    load: gr.UploadButton
    files_note: gr.HTML

    def shown(self) -> list[Any]:
        """What a job may change."""
        return [
            self.note, self.verdict, self.why, self.map, self.answers, self.strength, self.undo, self.redo, self.past,
            self.figures, self.result,
        ]  # fmt: skip


def choices(workshop: Workshop) -> list[tuple[str, str]]:
    """Label and name of every language model the page offers."""
    return [(LABELS.get(name, name), name) for name in workshop.language_names()]


def labels(model: str) -> list[tuple[str, int]]:
    """The examples of a model, in a few words each, and their numbers."""
    return [(f"{fact.asked} {fact.old} → {fact.new}", n) for n, fact in enumerate(examples(model))]
