"""The card: what stands where."""

from __future__ import annotations

import gradio as gr

from ui.lamp import example
from ui.lamp.canvas import canvas
from ui.lamp.events import LampEvents
from ui.lamp.parts import Parts
from ui.workshop.card import Shared
from ui.workshop.parts import note
from ui.workshop.running import Running
from ui.workshop.session import EMBEDDED, Workshop

_STYLE = """<style>
.neurons {display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: .6rem; list-style: none;
  padding: 0; margin: 0;} .neurons li {margin: 0; font-size: .82rem; color: var(--body-text-color);}
.neurons img {width: 100%; margin: 0; border-radius: var(--radius-sm);} .neurons b, .neurons span {display: block;}
.film.others {grid-template-columns: repeat(6, minmax(0, 1fr));}
.film.others img + img {margin-top: .25rem;}
@media (max-width: 640px) {.film.others {grid-template-columns: repeat(3, minmax(0, 1fr));}}
</style>"""


def build(shared: Shared) -> None:
    """Lay the card out and wire it."""
    parts = _lay_out(shared.workshop)
    LampEvents(shared, parts).wire()


def _lay_out(workshop: Workshop) -> Parts:
    gr.Markdown("## Find what lights the lamp", elem_classes=["errand"])
    gr.HTML(_STYLE, visible="hidden")
    shown = example.load()
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            rooms = gr.Gallery(
                shown.rooms, label="Rooms: choose one", columns=8, height=110, allow_preview=False, format="png",
                type="pil", object_fit="cover", elem_id="lamp-rooms", buttons=[],
            )  # fmt: skip
            board = canvas("Room, mark and result", elem_id="lamp-canvas")
            board.value = shown.canvas
        with gr.Column(scale=4, min_width=320):
            gr.Markdown("The lamp is marked in pink. Paint over something else, or press the button.")
            with gr.Row(elem_classes=["main-row"]):
                run = Running("Switch it off", elem_id="lamp-run")
            told = note(elem_id="lamp-note")
            verdict = gr.HTML(shown.verdict, label="verdict", elem_id="lamp-verdict", padding=False, container=False)
            with gr.Row():
                few = gr.Checkbox(False, label="With twelve neurons at most", elem_id="lamp-few", min_width=200)
                wipe = gr.Button("Wipe the mark", min_width=120, elem_id="lamp-wipe")
            with gr.Row():
                others = gr.Button("In other rooms", interactive=False, min_width=120, elem_id="lamp-others")
                save = gr.Button("Save the switch", interactive=False, min_width=120, elem_id="lamp-save")
                gif = gr.Button("GIF", interactive=False, min_width=80, elem_id="lamp-gif")
            strip = gr.HTML("", label="other_rooms", elem_id="lamp-strip", padding=False, container=False)
            file = gr.File(label="file", interactive=False, visible=False, elem_id="lamp-file")
            with gr.Accordion("The neurons behind it", open=False):
                score = gr.Button("Score every neuron", elem_id="lamp-score")
                unit_note = note("By: darkens the mark, leaves the rest.", elem_id="lamp-unit-note")
                neurons = gr.HTML("", label="neurons", elem_id="lamp-neurons", padding=False, container=False)
            with gr.Accordion("Other rooms, another generator", open=False):
                generator = gr.Dropdown(
                    workshop.generator_names(), value=EMBEDDED, label="Generator", elem_id="lamp-generator"
                )
                seeds = gr.Textbox("0-7", label="Rooms, by number (0-7, or 3, 5, 11)", elem_id="lamp-seeds")
                show = gr.Button("Show them", elem_id="lamp-show")
    return Parts(
        run, few, told, rooms, board, verdict, wipe, others, strip, save, gif, file, score, unit_note, neurons,
        generator, seeds, show, gr.JSON(visible=False, label="result"),
    )  # fmt: skip
