"""The page: a home of cards, one errand each, every errand with its own address."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from starlette.middleware import Middleware

from ui.workshop import pulse
from ui.workshop.card import Card, Shared
from ui.workshop.chooser import Chooser, lay_out, wire
from ui.workshop.closed import Closed
from ui.workshop.home import home
from ui.workshop.kept import KeptPage
from ui.workshop.look import CSS, theme
from ui.workshop.parts import LIGHT
from ui.workshop.session import Visit, Workshop
from ui.workshop.uploads import Uploads

TITLE = "Concept Edit"
HEAD = """# Concept Edit
Change what a model knows, in seconds, and see what it did."""
CARDS = ("style", "suppress", "balance", "slide", "lamp", "relight", "fact", "expert")
"""The errands, in the order they are shown; `ui/<name>/` is the card."""
_workshops: WeakKeyDictionary[gr.Blocks, Workshop] = WeakKeyDictionary()
"""The workshop of every page that was built."""
_ADDRESS = "() => history.replaceState(null, '', '?do=NAME')"


def build_app(workshop: Workshop) -> gr.Blocks:
    """The whole page around one workshop."""
    cards: list[Card] = [import_module(f"ui.{name}").CARD for name in CARDS]
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)) as app:
        visit = gr.State(Visit(), delete_callback=Visit.close, time_to_live=6 * 3600)
        with gr.Row(elem_id="head", equal_height=False):
            with gr.Column(scale=3, min_width=260):
                gr.Markdown(HEAD)
                place = gr.Markdown(workshop.place(), elem_id="place")
            with gr.Column(scale=4, min_width=300):
                chooser = lay_out(workshop)
        shared = Shared(workshop, visit, chooser.model)
        with gr.Tabs(elem_id="errands", selected="home") as errands:
            with gr.Tab("Home", id="home") as tab:
                doors = home(cards)
            tab.select(None, js="() => history.replaceState(null, '', location.pathname)", api_visibility="private")
            for card in cards:
                with gr.Tab(card.title, id=card.name) as tab:
                    card.build(shared)
                tab.select(None, js=_ADDRESS.replace("NAME", card.name), api_visibility="private")
        doors.submit(lambda name: gr.Tabs(selected=name), doors, errands, api_visibility="private", **LIGHT)
        wire(chooser, workshop, visit)
        _workshops[app] = workshop
        _wire_coming_and_going(app, shared, chooser, place, errands)
    return app


def _wire_coming_and_going(
    app: gr.Blocks, shared: Shared, chooser: Chooser, place: gr.Markdown, errands: gr.Tabs
) -> None:
    workshop, visit = shared.workshop, shared.visit
    opener = [chooser.opener] if chooser.opener is not None else []

    def enter(visit: Visit, request: gr.Request) -> tuple[Any, ...]:
        """Begin a visit at the errand of the address; Gradio drops it some time after its page is closed."""
        asked = request.query_params.get("do", "")
        workshop.welcome(visit)
        chosen = gr.Tabs(selected=asked) if asked in CARDS else gr.skip()
        return visit, workshop.place(), chosen, *(chooser.secret(visit) for _ in opener)

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

    app.load(
        enter, visit, [visit, place, errands, *opener], api_visibility="private", queue=False, show_progress="hidden"
    )
    app.unload(leave)


def launch(app: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Start the server with the settings that keep it private: no analytics, no shared history, no file paths."""
    app.queue(max_size=200)
    shared = [] if options.get("auth") else [Middleware(KeptPage)]
    uploads = [Middleware(Uploads, workshop=_workshops[app])]
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
        app_kwargs={"middleware": [Middleware(Closed), *uploads, Middleware(pulse.Pulse), *shared]},
        footer_links=["api"],
        **options,
    )
