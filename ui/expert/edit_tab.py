"""The Edit tab: what should change, what it will do, and how it looks."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.expert import edit_events
from ui.expert.edit_events import Look, Past, Tab
from ui.expert.edit_fields import lay_out
from ui.expert.edit_wiring import wire
from ui.workshop.card import Shared
from ui.workshop.look import empty
from ui.workshop.parts import note

START = "Click an example, or add a concept of your own. Then press Solve and paint."
PREDICTED = "The predicted effect appears here: what goes, what moves that should not."


def build(shared: Shared) -> None:
    """Lay the tab out and wire it."""
    workshop, visit = shared.workshop, shared.visit
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=380):
            sheet = lay_out(shared.model)
        with gr.Column(scale=6, min_width=380):
            look, run, past, effect = _right()
    wire(sheet, visit, look.prompt, look.seed, run[1])
    edit_events.wire(Tab(workshop, visit, sheet.fields, look, past, effect, sheet.drawn, sheet.measure), *run)


def _right() -> tuple[Any, ...]:
    gr.Markdown("### 2 · See what it does")
    with gr.Row(equal_height=True):
        prompt = gr.Textbox(
            label="Prompt", value="a rocket in the style of Twemoji", scale=6, min_width=200, elem_id="prompt"
        )
        seed = gr.Number(1, label="Seed", precision=0, scale=1, min_width=80, elem_id="seed")
        steps = gr.Number(
            0, label="Denoising steps (0: the model's own)", precision=0, scale=2, min_width=130, elem_id="steps"
        )
    with gr.Row():
        predict = gr.Button("Predict the effect", elem_id="predict")
        solve = gr.Button("Solve and paint", variant="primary", elem_id="solve")
        paint = gr.Button("Paint only", elem_id="paint")
        cancel = gr.Button("Cancel", elem_id="cancel", elem_classes=["calm"])
    told = note(elem_id="note")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            blank = gr.HTML(
                empty("Nothing painted yet", START), container=False, padding=False, elem_classes=["bare", "tall"]
            )  # fmt: skip
            slider = gr.ImageSlider(
                label="Before (left), after (right)", format="png", type="pil", interactive=False, height=430,
                visible=False, elem_id="before-after", elem_classes=["square"], slider_position=50,
                buttons=["download", "fullscreen"],
            )  # fmt: skip
        with gr.Column(scale=3, min_width=220):
            strength = gr.Slider(
                0, 2, value=1, step=0.05, label="Strength", elem_id="strength",
                info="0: the original, 1: the whole edit.",
            )  # fmt: skip
            past = _history()
    effect = gr.Markdown(PREDICTED, elem_id="effect")
    return Look(prompt, seed, steps, slider, blank, strength, told), (predict, solve, paint, cancel), past, effect


def _history() -> Past:
    with gr.Row():
        undo = gr.Button("↶ Undo", size="sm", min_width=60, interactive=False, elem_id="undo")
        redo = gr.Button("↷ Redo", size="sm", min_width=60, interactive=False, elem_id="redo")
    history = gr.Radio(
        ["0 · original"], value="0 · original", label="History", elem_id="history", type="index",
        info="Every solve is kept; choose one to go back.",
    )  # fmt: skip
    concept = gr.Dropdown([], label="Take one concept out", interactive=True, elem_id="revoke-concept")
    revoke = gr.Button("Take it out", size="sm", elem_id="revoke", interactive=False)
    return Past(undo, redo, history, concept, revoke)
