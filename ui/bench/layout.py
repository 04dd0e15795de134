"""What stands where on a card that changes an image model: the sentence is the card's own, the rest is here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.bench import downloads, pairs
from ui.bench.downloads import Downloads
from ui.bench.past import past as history
from ui.pictures import boards
from ui.workshop.parts import note
from ui.workshop.running import Running


@dataclass(frozen=True)
class More:
    """What most people leave as it is."""

    prompts: gr.Textbox
    seed: gr.Number
    steps: gr.Number

    def all(self) -> list[Any]:
        """In the order the handlers take them."""
        return [self.prompts, self.seed, self.steps]


@dataclass(frozen=True)
class Parts:
    """Everything of a bench that events need."""

    run: Running
    note: gr.HTML
    pairs: gr.HTML
    verdict: gr.HTML
    strength: gr.Slider
    undo: gr.Button
    redo: gr.Button
    past: gr.HTML
    """Where in the history it stands, in words and small pictures."""
    more: More
    downloads: Downloads
    result: gr.JSON
    pictures: gr.Gallery

    def shown(self) -> list[Any]:
        """All that a job may change."""
        return [
            self.note, self.pairs, self.verdict, self.strength, self.undo, self.redo, self.past,
            *self.downloads.shown(), self.result, self.pictures,
        ]  # fmt: skip


def button(card: str, label: str) -> tuple[Running, gr.HTML]:
    """The main button with its note, to be laid out beside the sentence."""
    with gr.Row(elem_classes=["main-row"]):
        run = Running(label, elem_id=f"{card}-run")
    return run, note(elem_id=f"{card}-note")


def more(card: str) -> More:
    """The closed drawer."""
    with gr.Accordion("Choose the pictures", open=False):
        prompts = gr.Textbox(
            "",
            label="Prompts to look at, one a line", lines=2, elem_id=f"{card}-prompts",
            placeholder="empty: two of what you change, its nearest neighbour, something else",
        )  # fmt: skip
        with gr.Row():
            seed = gr.Number(1, label="Seed", precision=0, minimum=0, min_width=120, elem_id=f"{card}-seed")
            steps = gr.Number(
                0, label="Denoising steps (0: the model's own)", precision=0, minimum=0, maximum=200, min_width=120,
                elem_id=f"{card}-steps",
            )  # fmt: skip
    return More(prompts, seed, steps)


def lay_out(
    card: str,
    run: Running,
    told: gr.HTML,
    drawer: More,
    *,
    kinds: tuple[str, ...],
    reach: tuple[float, float] = (0, 2),
    at: float = 1.0,
) -> Parts:
    """Pictures, verdict, strength, history and downloads, inside the current column."""
    example = boards.load(card)
    board = pairs.pairs(f"{card}-pairs", pairs.shown(example.cells))
    verdict = gr.HTML(
        example.verdict.html() if example.verdict else "",
        elem_id=f"{card}-verdict",
        padding=False,
        container=False,
        label="verdict",
    )
    with gr.Row(equal_height=True, elem_classes=["bottom"]):
        strength = gr.Slider(
            *reach, value=at, step=0.05, label="Strength (0: the original, 1: the whole edit)", scale=3, min_width=220,
            elem_id=f"{card}-strength",
        )  # fmt: skip
        undo = gr.Button("Undo", min_width=80, scale=0, interactive=False, elem_id=f"{card}-undo")
        redo = gr.Button("Redo", min_width=80, scale=0, interactive=False, elem_id=f"{card}-redo")
    example_line = "An example, painted beforehand. Press the button to do it now and have the files."
    past = history(f"{card}-past", example_line)
    files = downloads.lay_out(card, kinds)
    result = gr.JSON(visible=False, label="result")
    pictures = gr.Gallery(visible=False, label="before_and_after", format="png", type="pil")
    return Parts(run, told, board, verdict, strength, undo, redo, past, drawer, files, result, pictures)
