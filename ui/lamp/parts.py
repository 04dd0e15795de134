"""Everything of the card that events need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.workshop.running import Running


@dataclass(frozen=True)
class Parts:
    """The card's components."""

    run: Running
    few: gr.Checkbox
    note: gr.HTML
    rooms: gr.Gallery
    canvas: gr.HTML
    verdict: gr.HTML
    wipe: gr.Button
    others: gr.Button
    strip: gr.HTML
    save: gr.Button
    gif: gr.Button
    load: gr.UploadButton
    file: gr.File
    score: gr.Button
    unit_note: gr.HTML
    neurons: gr.HTML
    generator: gr.Dropdown
    seeds: gr.Textbox
    show: gr.Button
    result: gr.JSON
    """The same for a program."""

    def after(self) -> list[Any]:
        """What needs a switch."""
        return [self.others, self.save, self.gif]
