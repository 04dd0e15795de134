"""Everything of the card that events need."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.workshop.running import Running


@dataclass(frozen=True)
class Parts:
    """The card's components."""

    run: Running
    photo: gr.UploadButton
    example: gr.Button
    wipe: gr.Button
    canvas: gr.HTML
    which: gr.Radio
    fraction: gr.Slider
    note: gr.HTML
    verdict: gr.HTML
    after: gr.HTML
    make: gr.Button
    file: gr.DownloadButton
    result: gr.JSON
    """The same for a program."""
