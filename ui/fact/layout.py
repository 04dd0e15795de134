"""The card: what stands where."""

from __future__ import annotations

import gradio as gr

from ui.fact import shown, tasks_layout
from ui.fact.board import Board, opening
from ui.fact.events import FactEvents
from ui.fact.files import KINDS
from ui.fact.heat import heat, held
from ui.fact.parts import Fields, Parts, choices, labels
from ui.fact.wish import METHODS
from ui.workshop.card import Shared
from ui.workshop.parts import note
from ui.workshop.running import Running
from ui.workshop.session import Workshop


def build(shared: Shared) -> None:
    """Lay the card out and wire it."""
    first = opening()
    gr.HTML(f"<style>{shown.STYLE}</style>", visible="hidden")
    with gr.Column(elem_id="fact-card"):
        gr.Markdown("## Change a fact", elem_classes=["errand"])
        fields, parts = _lay_out(shared.workshop, first)
        with gr.Accordion("Expert: heads and vectors of a task", open=False, elem_id="fact-tasks"):
            tasks_layout.build(shared)
    FactEvents(shared, fields, parts).wire()


def _lay_out(workshop: Workshop, first: Board) -> tuple[Fields, Parts]:
    fact = first.fact
    sentence = gr.HTML(
        shown.sentence(first.model, fact.prompt, fact.subject, fact.old, fact.new), elem_id="fact-sentence",
        padding=False, elem_classes=["bare"], label="sentence",
    )  # fmt: skip
    with gr.Row(elem_classes=["bottom"]):
        model = gr.Dropdown(
            choices(workshop), value=first.model, label="Language model", elem_id="fact-model", scale=2, min_width=220,
        )  # fmt: skip
        examples = gr.Radio(
            labels(first.model), value=0, label="Facts it knows: choose one, or write your own below",
            elem_id="fact-examples", scale=5, min_width=300,
        )  # fmt: skip
    with gr.Row(elem_classes=["bottom"]):
        prompt = gr.Textbox(
            fact.asked, label="Sentence, up to its answer", elem_id="fact-prompt", scale=4, min_width=240, max_lines=1
        )
        subject = gr.Textbox(
            fact.subject, label="Who or what it is about", elem_id="fact-subject", scale=2, min_width=160, max_lines=1
        )
        old = gr.Textbox(
            fact.old, label="It says now", placeholder="whatever it says", elem_id="fact-old", scale=1, min_width=120,
            max_lines=1,
        )  # fmt: skip
        new = gr.Textbox(fact.new, label="It should say", elem_id="fact-new", scale=1, min_width=120, max_lines=1)
    with gr.Row(elem_classes=["main-row"]):
        run = Running("Change it", elem_id="fact-run")
    told = note(elem_id="fact-note")
    verdict = gr.HTML(
        shown.verdict(first), elem_id="fact-verdict", padding=False, elem_classes=["bare"], label="verdict"
    )
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320):
            answers = gr.HTML(
                shown.answers(first), elem_id="fact-answers", padding=False, elem_classes=["bare"], label="answers"
            )
            with gr.Row(elem_classes=["bottom"]):
                strength = gr.Slider(
                    0, 2, value=1, step=0.05, label="Strength (0: the original, 1: the whole change)", scale=3,
                    min_width=220, elem_id="fact-strength",
                )  # fmt: skip
                undo = gr.Button("Undo", min_width=80, scale=0, elem_id="fact-undo")
                redo = gr.Button("Redo", min_width=80, scale=0, interactive=False, elem_id="fact-redo")
            past = gr.HTML(
                shown.past(1, 1, first), elem_id="fact-past", padding=False, elem_classes=["bare"], label="history"
            )
        with gr.Column(scale=5, min_width=320):
            gr.Markdown("### Where the model holds it")
            why = gr.HTML(shown.why(first), elem_id="fact-why", padding=False, elem_classes=["bare"], label="layer")
            places = heat(held(first), elem_id="fact-map")
    with gr.Accordion("Also asked: other wordings and neighbours, automatic · change", open=False):
        wordings = gr.Textbox(
            "",
            label="Other wordings, one a line", lines=3, elem_id="fact-wordings",
            placeholder="empty: those that are known, such as “{} grew up speaking”; {} is whom it is about",
        )  # fmt: skip
        neighbours = gr.Textbox(
            "",
            label="Neighbours that should stay, one a line", lines=3, elem_id="fact-neighbours",
            placeholder="empty: others of the same kind; “sentence”, or “sentence = answer”",
        )  # fmt: skip
    with gr.Accordion("Expert: layer, way of writing, figures", open=False, elem_id="fact-expert"):
        layer = gr.Number(
            -1, label="Layer to write in", info="−1: the one the trace chooses. A number on the map fills it in.",
            precision=0, minimum=-1, elem_id="fact-layer",
        )  # fmt: skip
        method = gr.Radio(
            [(label, name) for name, label in METHODS.items()], value="rome", label="Way of writing",
            elem_id="fact-method",
        )  # fmt: skip
        figures = gr.HTML(
            shown.figures(first), elem_id="fact-figures", padding=False, elem_classes=["bare"], label="figures"
        )
    make, file = {}, {}
    with gr.Row(elem_classes=["downloads"]):
        for kind, (label, _) in KINDS.items():
            make[kind] = gr.Button(f"Save {label}", min_width=150, elem_id=f"fact-make-{kind}")
            file[kind] = gr.DownloadButton(f"{label} file", visible="hidden", elem_id=f"fact-file-{kind}")
        load = gr.UploadButton(
            "Open an edit or a recipe…", file_types=[".safetensors", ".yaml", ".yml", ".json"], min_width=150,
            elem_id="fact-load",
        )  # fmt: skip
    files_note = note(elem_id="fact-files-note")
    gr.HTML(
        '<ul class="about-files">' + "".join(f"<li><b>{label}</b>: {about}</li>" for label, about in KINDS.values())
        + "</ul>", padding=False,
    )  # fmt: skip
    result = gr.JSON(visible=False, label="result")
    fields = Fields(model, prompt, subject, old, new, wordings, neighbours, layer, method)
    parts = Parts(
        run, told, sentence, examples, verdict, why, places, answers, strength, undo, redo, past, figures, result,
        make, file, load, files_note,
    )  # fmt: skip
    return fields, parts
