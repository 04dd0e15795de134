"""The card: what stands where."""

from __future__ import annotations

import gradio as gr

from ui.bench import keep as keeps
from ui.bench import layout as bench
from ui.bench import words
from ui.bench.events import BenchEvents
from ui.slide import work
from ui.slide.events import stripping, working
from ui.workshop.card import Shared
from ui.workshop.parts import LANE, note

FILES = ("lora", "edit", "recipe")


def build(shared: Shared) -> None:
    """Lay the card out and wire it."""
    gr.Markdown("## Slide an attribute", elem_classes=["errand"])
    with gr.Row(equal_height=True, elem_classes=["sentence", "bottom"]):
        concept = gr.Textbox("doctor", label="Slide", min_width=140, scale=2, elem_id="slide-concept")
        away = gr.Textbox("man doctor", label="from (−1)", min_width=150, scale=2, elem_id="slide-away")
        towards = gr.Textbox("woman doctor", label="to (+1)", min_width=150, scale=2, elem_id="slide-towards")
        run, told = bench.button("slide", "Make the slider")
    marks = words.place("slide-marks")
    column = gr.Column()
    keeping, keep = keeps.lay_out("slide", "doctor")
    drawer = bench.more("slide")
    with column:
        parts = bench.lay_out("slide", run, told, drawer, kinds=FILES, reach=work.REACH, at=1.5)
        strip = gr.Button("Film strip from −2 to 2", min_width=160, elem_id="slide-strip")
        wrote = note(elem_id="slide-strip-note")
        film = gr.HTML("", elem_id="slide-film", padding=False, container=False, label="film_strip")
        files = gr.File(label="strips", file_count="multiple", interactive=False, visible=False)
    events = BenchEvents(shared, "slide", parts, work.judged)
    fields = [concept, towards, away, keep, *drawer.all()]
    run.wire(
        working(events), shared.visit, [*fields, parts.strength], parts.shown(), api_name="slide",
        also=[concept.submit, towards.submit, away.submit],
    )  # fmt: skip
    events.wire(fields)
    keeps.wire(shared, concept, keeping, keep)
    words.wire(shared.workshop, shared.visit, concept, marks, api_name="slide_words")
    strip.click(
        stripping(shared.workshop, wrote, film, files), shared.visit, [wrote, film, files], api_name="slide_strip",
        **LANE,
    )  # fmt: skip
