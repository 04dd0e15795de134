"""The page: one tab for each thing a person comes to do."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ui import pulse
from ui.kept import KeptPage
from ui.look import CSS, theme
from ui.session import Visit, Workshop

TITLE = "Concept Edit"
HEAD = """# Concept Edit
Change what an image model knows, in seconds, and see what it did."""
TABS = {
    "edit": "Edit",
    "compare": "Compare",
    "audit": "Audit",
    "export": "Export",
    "light": "Light",
    "device": "Device",
}
"""Tab id -> label; `ui/<id>_tab.py` builds it."""


def build_app(workshop: Workshop) -> gr.Blocks:
    """The whole page around one workshop."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as app:
        visit = gr.State(Visit(), delete_callback=Visit.close, time_to_live=6 * 3600)
        with gr.Row(elem_id="head"):
            gr.Markdown(HEAD)
            place = gr.Markdown(workshop.place(), elem_id="place")
        with gr.Tabs():
            for name, label in TABS.items():
                if find_spec(f"ui.{name}_tab"):
                    with gr.Tab(label, id=name):
                        import_module(f"ui.{name}_tab").build(workshop, visit)
        _wire_coming_and_going(app, workshop, visit, place)
    return app


def _wire_coming_and_going(app: gr.Blocks, workshop: Workshop, visit: gr.State, place: gr.Markdown) -> None:
    def enter(visit: Visit) -> tuple[Visit, str]:
        """Begin a visit; Gradio drops it some time after its page is closed."""
        return visit, workshop.place()

    def leave(request: gr.Request) -> None:
        """A page was closed: stop its work, and let its state grow old. Gradio's half megabyte about what every
        component of the page showed, kept for links that nobody can make here, goes at once."""
        sessions = app.state_holder.session_data
        session = sessions.get(request.session_hash or "")
        if session is not None:
            left: Visit = session[visit._id]
            left.leave()
            session[visit._id] = left
            session.config_values.clear()

    app.load(enter, visit, [visit, place], api_visibility="private", queue=False, show_progress="hidden")
    app.unload(leave)


def launch(app: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Start the server with the settings that keep it private: no analytics, no shared history, no file paths."""
    app.queue(max_size=200)
    shared = [] if options.get("auth") else [Middleware(KeptPage)]
    return app.launch(
        run_history=False,
        show_error=False,
        max_file_size=20_000_000,
        max_threads=100,
        state_session_capacity=1000,
        ssr_mode=False,
        enable_monitoring=False,
        quiet=True,
        prevent_thread_lock=True,
        theme=theme(),
        css=CSS,
        head=pulse.head(),
        app_kwargs={"middleware": [Middleware(pulse.Pulse), *shared]},
        footer_links=["api"],
        **options,
    )
