"""The Device tab: where models run, and the settings for small cards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ui.workshop.card import Shared
from ui.workshop.parts import LANE, LIGHT, note, says, table, trouble
from ui.workshop.session import News, Settings, Tell, Visit, Workshop

PRECISIONS = [("the file's own", ""), ("float32", "float32"), ("float16", "float16"), ("bfloat16", "bfloat16")]
LOCKED = "Device and precision are set by whoever runs this server."


def build(shared: Shared) -> None:
    """Lay the tab out and wire it."""
    workshop, visit = shared.workshop, shared.visit
    settings = workshop.settings
    gr.Markdown("### Where models run")
    with gr.Row(equal_height=False):
        with gr.Column():
            facts = gr.Markdown(table(["This machine", ""], facts_of(workshop)), elem_id="facts")
        with gr.Column():
            device, dtype, offload, apply = _fields(settings)
            told = note("" if settings.changeable else LOCKED, elem_id="device-note")

    def on_apply(visit: Visit, device: str, dtype: str, offload: bool) -> Iterator[dict[Any, Any]]:
        """Move to another device or precision; models are opened anew when next asked for."""
        try:
            for news in set_up(workshop, visit, device, dtype, offload):
                yield {told: says("Done. The next job runs there." if news.done else news)}
            yield {facts: table(["This machine", ""], facts_of(workshop))}
        except Exception as error:
            yield {told: trouble(error)}

    apply.click(on_apply, [visit, device, dtype, offload], [told, facts], api_name="device", **LANE)
    tab = gr.context.Context.block
    if isinstance(tab, gr.Tab):
        tab.select(lambda: table(["This machine", ""], facts_of(workshop)), None, facts,
                   api_visibility="private", **LIGHT)  # fmt: skip


def _fields(settings: Settings) -> tuple[gr.Radio, gr.Radio, gr.Checkbox, gr.Button]:
    may = settings.changeable
    device = gr.Radio(devices(), value=settings.device, label="Device", interactive=may)
    about = "Half precision takes half the memory of a GPU; on a processor it is slow and less exact."
    dtype = gr.Radio(PRECISIONS, value=settings.dtype or "", label="Precision", info=about, interactive=may)
    about = "For cards that are too small: parts of the model wait in main memory until they run. Slower."
    offload = gr.Checkbox(settings.offload, label="CPU offload", info=about, interactive=may)
    return device, dtype, offload, gr.Button("Apply", elem_id="apply", interactive=may)


def set_up(workshop: Workshop, visit: Visit, device: str, dtype: str, offload: bool) -> Iterator[News]:
    """Change the settings once nobody's job runs.

    Raises:
        ValueError: as `Workshop.set_up`.
    """

    def job(tell: Tell) -> None:
        tell(News("Moving"))
        workshop.set_up(device=device, dtype=dtype or None, offload=bool(offload))

    return workshop.work(visit, job)


def devices() -> list[tuple[str, str]]:
    """Label and name of every device that is here."""
    import torch

    found = [("automatic: a GPU where there is one", "auto"), ("processor (CPU)", "cpu")]
    for index in range(torch.cuda.device_count()):
        found.append((f"GPU {index}: {torch.cuda.get_device_name(index)}", f"cuda:{index}" if index else "cuda"))
    return found + ([("Apple GPU", "mps")] if torch.backends.mps.is_available() else [])


def facts_of(workshop: Workshop) -> list[list[str]]:
    """What the machine has and what is in use."""
    import torch

    place = workshop.settings.place
    rows = [
        ["In use", workshop.place().removeprefix("Runs on ")],
        ["Open models", ", ".join(workshop.open()) or "none"],
    ]
    threads = torch.get_num_threads()
    rows.append(["torch", f"{torch.__version__}, {threads} thread{'s' * (threads != 1)}"])
    if place.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(torch.device(place))
        rows.append(["GPU memory", f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"])
    return rows
