"""The card: what stands where."""

from __future__ import annotations

import gradio as gr

from ui.bench import keep as keeps
from ui.bench import layout as bench
from ui.bench import words
from ui.bench.events import BenchEvents
from ui.style.events import working
from ui.workshop.card import Shared

FILES = ("lora", "checkpoint", "edit", "recipe")


def build(shared: Shared) -> None:
    """Lay the card out and wire it."""
    gr.Markdown("## Take a style out", elem_classes=["errand"])
    with gr.Row(equal_height=True, elem_classes=["sentence", "bottom"]):
        word = gr.Textbox(
            "Twemoji", label="Take out", placeholder="an artist, a style, a thing; several by ;", min_width=180,
            scale=3, elem_id="style-words",
        )  # fmt: skip
        instead = gr.Textbox(
            "", label="and paint instead", placeholder="Noto; empty: nobody's style", min_width=180, scale=3,
            elem_id="style-instead",
        )  # fmt: skip
        run, told = bench.button("style", "Take it out")
    marks = words.place("style-marks")
    parts_column = gr.Column()
    keeping, keep = keeps.lay_out("style", "Twemoji")
    drawer = bench.more("style")
    with parts_column:
        parts = bench.lay_out("style", run, told, drawer, kinds=FILES)
    events = BenchEvents(shared, "style", parts)
    fields = [word, instead, keep, *drawer.all()]
    run.wire(
        working(events), shared.visit, [*fields, parts.strength], parts.shown(), api_name="style",
        also=[word.submit, instead.submit],
    )  # fmt: skip
    events.wire(fields)
    keeps.wire(shared, word, keeping, keep)
    words.wire(shared.workshop, shared.visit, word, marks, api_name="style_words")
