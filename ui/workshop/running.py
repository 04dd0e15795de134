"""The one button of an errand: it starts the work and, while the work runs, stops it.

    run = Running("Take it out", elem_id="style-run")
    run.wire(work, visit, [name, guide], [note, grid], api_name="style")

`work(visit, name, guide)` is a generator of `{component: value}` that says its own errors; its docstring is the API's
description and its parameters are the API's names. The button's own press and the API's call are two events: a program
that calls twice is told that its first call still runs, a person who presses twice wants to stop.

A stop is two events, one after the other: the page is told first, and the job is stopped when the page has it. In one
event the word "Stopping" could arrive after the job's own last word and stand over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from ui.workshop.lane import in_words
from ui.workshop.parts import LANE, LIGHT, says
from ui.workshop.visit import Visit

Work = Callable[..., Iterator[dict[Any, Any]]]


class Running:
    """A primary button with its two faces. Lay it out where it belongs, then `wire` it once."""

    def __init__(self, label: str, *, elem_id: str) -> None:
        self.label = label
        self.button = gr.Button(label, variant="primary", elem_id=elem_id, elem_classes=["run"])
        self._called = gr.Button(label, visible=False)

    def wire(
        self,
        work: Work,
        visit: gr.State,
        inputs: Sequence[gr.components.Component],
        outputs: Sequence[gr.components.Component],
        *,
        api_name: str,
        also: Sequence[Any] = (),
    ) -> None:
        """Let a press run `work(visit, *inputs)`, and a press while it runs stop it. `also` are further events that
        start it, such as `field.submit`."""

        def tell(visit: Visit) -> Any:
            visit.unwanted = visit.busy
            return gr.update(value="Stopping…") if visit.unwanted else self._working()

        def press(visit: Visit, *values: Any) -> Iterator[dict[Any, Any]]:
            if visit.unwanted:
                visit.unwanted = False
                visit.cancel()
                yield {self.button: gr.skip()}  # a generator that gives nothing would empty every field
                return
            for found in work(visit, *values):
                yield {**found, self.button: self._working(visit.left)}
            yield {self.button: self._ready()}

        given = [visit, *inputs]
        again: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "multiple"}
        told = gr.on([self.button.click, *also], tell, visit, self.button, **again, **LIGHT)
        told.then(press, given, [*outputs, self.button], **again, **LANE)
        self._called.click(work, given, list(outputs), api_name=api_name, **LANE)

    def _working(self, left: float | None = None) -> Any:
        text = "Stop" if left is None else f"Stop · {in_words(left)} left"
        return gr.update(value=text, variant="stop")

    def _ready(self) -> Any:
        return gr.update(value=self.label, variant="primary")


def stops(button: gr.Button, visit: gr.State, note: gr.HTML, *, api_name: str) -> None:
    """Let `button` stop whatever the visit runs, and say so in `note`; a program calls `api_name` for the same."""
    called = gr.Button(visible=False)

    def tell(visit: Visit) -> str:
        return says("Stopping at the next step…" if visit.busy else "Nothing is running.")

    def stop(visit: Visit) -> str:
        """Stop the running job within one step; what it has made so far stays."""
        told = tell(visit)
        visit.cancel()
        return told

    def stop_silently(visit: Visit) -> None:
        visit.cancel()

    told = button.click(tell, visit, note, api_visibility="private", **LIGHT)
    told.then(stop_silently, visit, None, api_visibility="private", **LIGHT)
    called.click(stop, visit, note, api_name=api_name, **LIGHT)
