"""The Export tab: each file with its size beforehand and one button."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ui.workshop import export as handlers
from ui.workshop.card import Shared
from ui.workshop.export import KINDS, in_words
from ui.workshop.following import handed
from ui.workshop.parts import LANE, LIGHT, note, says, trouble
from ui.workshop.session import Visit, Workshop

EMPTY = "There is nothing to export yet. Solve an edit on the Edit tab; then every file below is one click."
_CLICK = "() => setTimeout(() => document.querySelector('#file-{kind} a, a#file-{kind}, #file-{kind}')?.click(), 100)"
"""Press the hidden download button, so that making a file and having it is one click."""


def build(shared: Shared) -> None:
    """Lay the tab out and wire it."""
    workshop, visit = shared.workshop, shared.visit
    gr.Markdown("### Take the edit with you")
    told = note(EMPTY, elem_id="export-note")
    sizes, buttons, files = {}, {}, {}
    for kind, about in KINDS.items():
        with gr.Row(elem_classes=["file-row"]):
            gr.Markdown(f"**{about.label}**  \n{about.about}")
            sizes[kind] = gr.Markdown("", elem_id=f"size-{kind}")
            buttons[kind] = gr.Button(
                f"Download the {_low(about.label)}", scale=0, min_width=240, elem_id=f"make-{kind}"
            )
            files[kind] = gr.DownloadButton(f"{about.label} file", visible="hidden", elem_id=f"file-{kind}")
    for kind in KINDS:
        job = buttons[kind].click(
            _maker(workshop, kind, told, files[kind]), visit, [told, files[kind]],
            api_name=f"export_{kind}", **LANE,
        )  # fmt: skip
        job.then(None, js=_CLICK.replace("{kind}", kind), api_visibility="private")

    def measure(visit: Visit) -> list[str]:
        """How large each file of the edit will be."""
        try:
            found = handlers.sizes(workshop, visit)
        except Exception as error:
            return [trouble(error), *[""] * len(KINDS)]
        version = visit.edits.current
        first = says(_sentence(version.title, version.strength)) if version else says(EMPTY)
        return [first, *(f"about {in_words(found[kind])}" if kind in found else "" for kind in KINDS)]

    tab = gr.context.Context.block
    assert isinstance(tab, gr.Tab)
    tab.select(measure, visit, [told, *sizes.values()], api_name="sizes", **LIGHT)


def _sentence(title: str, strength: float) -> str:
    if strength == 1:
        return f"These files hold the last edit you solved: {title}."
    return (
        f"These files hold the last edit you solved, {title}, at strength {strength:g}. Checkpoint and K/V are "
        "written at that strength; the "
        f"LoRA is the whole edit: load it with weight {strength:g}."
    )


def _low(label: str) -> str:
    return label if label[1].isupper() or "/" in label or label == "LoRA" else label.lower()


def _maker(workshop: Workshop, kind: str, told: gr.HTML, file: gr.DownloadButton) -> Any:
    def make(visit: Visit) -> Iterator[dict[Any, Any]]:
        for said, path in handed(lambda: handlers.write(workshop, visit, kind)):
            yield {told: said, file: path}

    make.__doc__ = f"Write the {KINDS[kind].label} of the edit that was solved last. {KINDS[kind].about}"
    return make
