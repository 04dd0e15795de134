"""The card: what stands where."""

from __future__ import annotations

import gradio as gr

from ui.bench import keep as keeps
from ui.bench import layout as bench
from ui.bench import words
from ui.bench.events import BenchEvents
from ui.suppress import events as happenings
from ui.suppress.work import MOST_PICTURES, needed
from ui.workshop.card import Shared
from ui.workshop.parts import LANE, LIGHT, note

FILES = ("lora", "checkpoint", "edit", "recipe")
EXAMPLE = "knife; dagger; bomb; syringe; cigarette; beer"


def build(shared: Shared) -> None:
    """Lay the card out and wire it."""
    gr.Markdown("## Suppress things", elem_classes=["errand"])
    with gr.Row(equal_height=True, elem_classes=["sentence", "bottom"]):
        field = gr.Textbox(
            EXAMPLE, label="Must not appear (by ; or one a line)", min_width=240, scale=5, max_lines=8,
            elem_id="suppress-words",
        )  # fmt: skip
        file = gr.UploadButton(
            "From a file", file_types=[".txt", ".csv", ".yaml", ".yml"], min_width=110, scale=0, elem_id="suppress-file"
        )
        run, told = bench.button("suppress", "Suppress them")
    marks = words.place("suppress-marks")
    column = gr.Column()
    keeping, keep = keeps.lay_out("suppress", EXAMPLE)
    drawer = bench.more("suppress")
    with column:
        parts = bench.lay_out("suppress", run, told, drawer, kinds=FILES)
        _check(shared)
    events = BenchEvents(shared, "suppress", parts)
    fields = [field, keep, *drawer.all()]
    run.wire(
        happenings.working(events), shared.visit, [*fields, parts.strength], parts.shown(), api_name="suppress",
        also=[field.submit],
    )  # fmt: skip
    events.wire(fields)
    keeps.wire(shared, field, keeping, keep)
    words.wire(shared.workshop, shared.visit, field, marks, api_name="suppress_words")
    file.upload(happenings.reading, [shared.visit, file, field], [field, told], api_name="suppress_list", **LIGHT)


def _check(shared: Shared) -> None:
    """Counting, the report, and verifying one."""
    gr.Markdown("### Check it, word by word")
    with gr.Row(equal_height=True, elem_classes=["bottom"]):
        pictures = gr.Slider(
            2, MOST_PICTURES, 8, step=2, label="Pictures of each word", scale=3, elem_id="suppress-pictures",
            info=f"8 of 8 gone means at most 32 % are left (95 %); for at most 10 % count {needed(0.10)}.",
        )  # fmt: skip
        check = gr.Button("Check", min_width=110, scale=0, elem_id="suppress-check")
        report = gr.Button("Report ZIP", min_width=110, scale=0, elem_id="suppress-report")
    told = note(elem_id="suppress-check-note")
    sentence = note(elem_id="suppress-check-sentence")
    table = gr.HTML("", label="word_by_word", elem_id="suppress-table", padding=False, container=False)
    decision = gr.Textbox("", visible=False, label="Decision")
    pack = gr.File(label="report", interactive=False, visible=False, elem_id="suppress-pack")
    with gr.Accordion("Verify a report somebody gave you", open=False):
        dropped = gr.File(label="Report ZIP", file_types=[".zip"], height=110, elem_id="suppress-verify")
        verified = note(elem_id="suppress-verified")
    workshop, visit = shared.workshop, shared.visit
    check.click(
        happenings.checking(workshop, told, table, sentence), [visit, pictures], [told, table, sentence],
        api_name="suppress_check", **LANE,
    )  # fmt: skip
    report.click(
        happenings.reporting(workshop, told, pack), [visit, decision], [told, pack], api_name="suppress_report", **LANE
    )
    dropped.upload(
        happenings.verifying(workshop, verified), [visit, dropped], [verified], api_name="suppress_verify", **LANE
    )
