"""The Device tab: where models run. It shows; whoever starts the server chooses."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.workshop.card import Shared
from ui.workshop.parts import LIGHT, note, says, table, trouble
from ui.workshop.session import Workshop

_HOW = """
### Another device or precision

The device is the server's: everybody's models run there. Whoever starts it chooses:

    concept-edit ui --device cuda --dtype float16 --offload

Half precision takes half the memory of a GPU; on a processor it is slow and less exact. `--offload` is for cards that
are too small: parts of a model wait in main memory until they run, which is slower.
"""


def build(shared: Shared) -> None:
    """Lay the tab out and wire it."""
    workshop = shared.workshop
    with gr.Row(equal_height=False):
        with gr.Column():
            gr.Markdown("### Where models run")
            facts = gr.Markdown(shown(workshop), elem_id="facts")
        with gr.Column():
            gr.Markdown(_HOW + "\nHere are: " + ", ".join(devices()) + ".")
            told = note(elem_id="device-note")
    asked = gr.Textbox("", visible=False), gr.Textbox("", visible=False), gr.Checkbox(value=False, visible=False)
    called = gr.Button(visible=False)

    def device(device: str = "", dtype: str = "", offload: bool = False) -> dict[Any, Any]:
        """Tell where models run. Another device, precision or offloading is chosen by whoever starts the server."""
        now = workshop.settings
        moved = (device or now.device, dtype or now.dtype, offload or now.offload)
        same = moved == (now.device, now.dtype, now.offload)
        how = "device and precision are the server's; whoever starts it chooses, by --device, --dtype and --offload"
        return {told: says(workshop.place()) if same else trouble(how), facts: shown(workshop)}

    called.click(device, list(asked), [told, facts], api_name="device", **LIGHT)
    tab = gr.context.Context.block
    if isinstance(tab, gr.Tab):
        tab.select(lambda: shown(workshop), None, facts, api_visibility="private", **LIGHT)


def shown(workshop: Workshop) -> str:
    """The facts as a table."""
    return table(["This machine", ""], facts_of(workshop))


def devices() -> list[str]:
    """Every device that is here, in words."""
    import torch

    found = ["the processor (`cpu`)"]
    for index in range(torch.cuda.device_count()):
        found.append(f"{torch.cuda.get_device_name(index)} (`cuda{f':{index}' if index else ''}`)")
    return found + (["the Apple GPU (`mps`)"] if torch.backends.mps.is_available() else [])


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
