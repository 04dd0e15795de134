"""The footer: one button a file, and a line for each that says what it fits, where it goes and how large it is."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.bench.work import bench_of
from ui.workshop import export
from ui.workshop.export import KINDS, in_words
from ui.workshop.following import handed
from ui.workshop.parts import LANE, note
from ui.workshop.session import News, Visit, Workshop

if TYPE_CHECKING:
    from concept_edit.models.opened import OpenedModel
    from ui.workshop.versions import Version

CLICK = "() => setTimeout(() => document.querySelector('#{place} a, a#{place}, #{place}')?.click(), 150)"
"""Press the hidden download button, so that making a file and having it is one click."""


@dataclass(frozen=True)
class Downloads:
    """The buttons of a card's footer."""

    buttons: dict[str, gr.Button]
    files: dict[str, gr.DownloadButton]
    about: gr.HTML
    note: gr.HTML

    def shown(self) -> list[Any]:
        """What a job may change."""
        return [*self.buttons.values(), self.about]

    def ready(self, version: Version | None, told: str) -> dict[Any, Any]:
        """The buttons live or not, and the lines about the files."""
        live = {button: gr.update(interactive=version is not None) for button in self.buttons.values()}
        return {**live, self.about: told}


def lay_out(card: str, kinds: tuple[str, ...]) -> Downloads:
    """Inside the current column."""
    buttons, files = {}, {}
    with gr.Row(elem_classes=["downloads"]):
        for kind in kinds:
            buttons[kind] = gr.Button(
                f"Download {KINDS[kind].label}", interactive=False, min_width=150, elem_id=f"{card}-make-{kind}"
            )
            files[kind] = gr.DownloadButton(
                f"{KINDS[kind].label} file", visible="hidden", elem_id=f"{card}-file-{kind}"
            )
    about = gr.HTML("", padding=False, container=False, label="about_the_files", elem_id=f"{card}-about")
    return Downloads(buttons, files, about, note(elem_id=f"{card}-files-note"))


def wire(workshop: Workshop, visit: gr.State, card: str, downloads: Downloads) -> None:
    """Make the buttons live; each is `/<card>_<kind>` for a program."""
    for kind, button in downloads.buttons.items():
        file = downloads.files[kind]
        job = button.click(
            _maker(workshop, card, kind, downloads.note, file), visit, [downloads.note, file],
            api_name=f"{card}_{kind}", **LANE,
        )  # fmt: skip
        job.then(None, js=CLICK.replace("{place}", f"{card}-file-{kind}"), api_visibility="private")


def _maker(workshop: Workshop, card: str, kind: str, told: gr.HTML, file: gr.DownloadButton) -> Any:
    def make(visit: Visit) -> Iterator[dict[Any, Any]]:
        def write() -> Iterator[News]:
            version = bench_of(visit, card).versions.current
            if version is None:
                raise ValueError("there is no edit to export yet; press the main button first")
            return export.write(workshop, visit, kind, version)

        for said, path in handed(write):
            yield {told: said, file: path}

    make.__doc__ = f"Write the {KINDS[kind].label} of what stands on this card. {KINDS[kind].about}"
    return make


def about(workshop: Workshop, visit: Visit, version: Version | None, kinds: tuple[str, ...]) -> str:
    """A line for each file: programs, folder, weight, size. '' where there is no edit."""
    if version is None:
        return ""
    model = workshop.model(version.model)
    sizes = export.sizes(workshop, visit, version)
    lines = [_line(kind, model, version, sizes.get(kind)) for kind in kinds]
    return f'<ul class="about-files">{"".join(f"<li>{line}</li>" for line in lines)}</ul>'


def _line(kind: str, model: OpenedModel, version: Version, size: int | None) -> str:
    from concept_edit.export.lora import programs_for

    told = html.escape(KINDS[kind].about)
    if kind == "lora":
        programs = ", ".join(programs_for(model.family))
        told = (
            f"loads in {html.escape(programs)}, with {html.escape(model.name)} and models made from it; put it into "
            "<code>models/Lora</code> (ComfyUI: <code>models/loras</code>) and give it the weight "
            f"{version.strength:g}. "
            "Whoever leaves it out has the old model."
        )
    if kind == "checkpoint":
        told = (
            "the whole model with the edit inside, at this strength; put it into <code>models/Stable-diffusion</code> "
            "(ComfyUI: <code>models/checkpoints</code>). It opens here again."
        )
    about = f", about {in_words(size)}" if size else ""
    return f"<b>{html.escape(KINDS[kind].label)}</b>{about}: {told}"
