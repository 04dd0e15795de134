"""The card: what stands where."""

from __future__ import annotations

import gradio as gr

from ui.balance import work
from ui.balance.events import working
from ui.bench import layout as bench
from ui.bench import words
from ui.bench.events import BenchEvents
from ui.workshop.balancing import MOST_CHECKED, MOST_PICTURES
from ui.workshop.card import Shared

FILES = ("lora", "checkpoint", "edit", "recipe")
_STYLE = """<style>
.shares {display: grid; gap: .5rem; max-width: 720px;} .share {display: grid; grid-template-columns: 1fr; gap: .15rem;
  font-size: .9rem; color: var(--body-text-color);}
.share .bar {position: relative; height: 18px; border-radius: 4px; background: var(--background-fill-secondary);
  border: 1px solid var(--border-color-primary); overflow: hidden;}
.share .bar i {position: absolute; inset: 0 auto 0 0; background: #94a3b8;} .share.after .bar i {background: #4f46e5;}
.share .bar b {position: absolute; top: 7px; height: 3px; background: #f59e0b;}
</style>"""


def build(shared: Shared) -> None:
    """Lay the card out and wire it."""
    gr.Markdown("## Balance people", elem_classes=["errand"])
    with gr.Row(equal_height=True, elem_classes=["sentence", "bottom"]):
        concept = gr.Textbox("farmer", label="In pictures of", min_width=160, scale=2, elem_id="balance-concept")
        shares = gr.Textbox(
            "man 50 %, woman 50 %", label="show", min_width=220, scale=3, elem_id="balance-shares"
        )  # fmt: skip
        run, told = bench.button("balance", "Balance them")
    marks = words.place("balance-marks")
    gr.HTML(_STYLE, visible="hidden")
    bars = gr.HTML("", label="shares", elem_id="balance-bars", padding=False, container=False)
    column = gr.Column()
    with gr.Accordion("How many pictures are counted", open=False):
        pictures = gr.Slider(4, MOST_PICTURES, 24, step=4, label="In a round of the search", elem_id="balance-pictures")
        checked = gr.Slider(
            0,
            MOST_CHECKED,
            24,
            step=4,
            label="In the check before and after, at other seeds",
            elem_id="balance-checked",
        )
    drawer = bench.more("balance")
    drawer.prompts.visible = drawer.seed.visible = False
    with column:
        parts = bench.lay_out("balance", run, told, drawer, kinds=FILES)

    events = BenchEvents(shared, "balance", parts, work.unchecked)
    fields = [concept, shares, pictures, checked, drawer.steps]
    run.wire(
        working(events, bars), shared.visit, [*fields, parts.strength], [*parts.shown(), bars],
        api_name="balance_people", also=[concept.submit, shares.submit],
    )  # fmt: skip
    events.wire(fields)
    words.wire(shared.workshop, shared.visit, concept, marks, api_name="balance_words")
