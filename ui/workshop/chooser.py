"""The chooser on top of the page: which model this visitor works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.workshop.parts import LIGHT, note, says
from ui.workshop.session import EMBEDDED, Visit, Workshop

LABELS = {EMBEDDED: "demo (toy: 48 things, 4 styles)"}


@dataclass(frozen=True)
class Chooser:
    """The top bar's fields."""

    model: gr.Dropdown
    note: gr.HTML


def lay_out(workshop: Workshop) -> Chooser:
    """Create the components inside the current row."""
    model = gr.Dropdown(
        choices(workshop), value=EMBEDDED, label="Model", allow_custom_value=True, elem_id="model", scale=2,
        min_width=260, info="A file of this server, or a hub id such as owner/name.",
    )  # fmt: skip
    return Chooser(model, note(elem_id="model-note"))


def choices(workshop: Workshop) -> list[tuple[str, str]]:
    """Label and name of every model the page offers."""
    return [(LABELS.get(name, name), name) for name in workshop.model_names()]


def wire(chooser: Chooser, workshop: Workshop, visit: gr.State) -> None:
    """Make the chooser live."""

    def choose(visit: Visit, model: str | None) -> tuple[Any, ...]:
        """Work on another model: "demo", a file of the server's folder by name, or a hub id."""
        visit.model = (model or EMBEDDED).strip()
        return (says(f"The next job opens {visit.model}."),)

    chooser.model.input(choose, [visit, chooser.model], [chooser.note], api_name="model", **LIGHT)
