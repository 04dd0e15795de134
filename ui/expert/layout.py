"""The workbench: one tab for each job, all around one recipe."""

from __future__ import annotations

from importlib import import_module

import gradio as gr

from ui.workshop.card import Shared

TABS = {
    "edit": "Edit",
    "compare": "Compare",
    "audit": "Audit",
    "export": "Export",
    "light": "Light",
    "device": "Device",
}
"""Tab id -> label; `ui/expert/<id>_tab.py` builds it."""


def build(shared: Shared) -> None:
    """Lay the tabs out and wire them."""
    with gr.Tabs(elem_id="workbench"):
        for name, label in TABS.items():
            with gr.Tab(label, id=name):
                import_module(f"ui.expert.{name}_tab").build(shared)
