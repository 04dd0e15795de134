"""What happens on the card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ui.lamp import light, switch, work
from ui.lamp.light import light_of
from ui.lamp.parts import Parts
from ui.workshop.card import Shared
from ui.workshop.following import follow
from ui.workshop.parts import LANE, LIGHT, says, trouble
from ui.workshop.session import EMBEDDED, News, Tell, Visit

Page = Iterator[dict[Any, Any]]


class LampEvents:
    """The card's events on one workshop."""

    def __init__(self, shared: Shared, parts: Parts) -> None:
        self.workshop, self.visit, self.parts = shared.workshop, shared.visit, parts

    def wire(self) -> None:
        """Make everything live."""
        parts, visit = self.parts, self.visit
        room = [parts.note, parts.rooms, parts.canvas, parts.verdict]
        parts.run.wire(
            self.switching(), visit, [parts.few, parts.canvas], [*room, parts.result, *parts.after()], api_name="lamp"
        )
        parts.show.click(self.show, [visit, parts.generator, parts.seeds], room, api_name="lamp_rooms", **LANE)
        parts.rooms.select(self.click, [visit, parts.canvas], room, api_visibility="private", **LANE)
        parts.wipe.click(self.wipe, visit, room, api_name="lamp_wipe", **LANE)
        parts.others.click(self.other_rooms, visit, [parts.note, parts.strip], api_name="lamp_other_rooms", **LANE)
        parts.score.click(
            self.neurons, [visit, parts.canvas], [parts.unit_note, parts.neurons], api_name="lamp_neurons", **LANE
        )
        gr.on(
            [parts.canvas.change, parts.few.change], self.touched, [visit, parts.canvas, parts.few], parts.verdict,
            api_visibility="private", trigger_mode="always_last", **LIGHT,
        )  # fmt: skip
        parts.save.click(self.save, visit, [parts.note, parts.file], api_name="lamp_save", **LIGHT)
        parts.load.upload(
            self.load, [visit, parts.load, parts.canvas], [*room, *parts.after()], api_name="lamp_load", **LANE
        )
        parts.gif.click(self.gif, visit, [parts.note, parts.file], api_name="lamp_gif", **LANE)

    def touched(self, visit: Visit, canvas: str, few: bool) -> Any:
        """The mark or the wish is another than the verdict's."""
        mine = light_of(visit)
        if visit.busy or mine.shown is None:
            return gr.skip()
        verdict = mine.shown[1]
        changed = work.stale(mine, canvas, bool(few))
        return (
            verdict.stale("The mark or the wish is another now; press the button again.") if changed else verdict
        ).html()

    def _prepare(self, visit: Visit, canvas: str) -> None:
        """Have rooms on the page, and what is painted on the canvas as the mark of its room."""
        if light_of(visit).at is None:
            work.opened(self.workshop, visit, EMBEDDED, work.FIRST)
        else:
            light.keep_mark(self.workshop, visit, canvas)

    def _canvas(self, visit: Visit, told: str, value: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = {self.parts.note: told}
        if value is not None:
            found[self.parts.canvas] = value
        return found

    def switching(self) -> Callable[..., Page]:
        """The handler of the main button."""

        def lamp(visit: Visit, few: bool = False, canvas: str = "") -> Page:
            """Switch the marked place off: solve the change of all neurons, or with `few` of twelve at most, and show
            the room going dark. What is painted on the canvas is the mark; nothing painted takes the brightest lamp of
            the first rooms."""

            def job(tell: Tell) -> tuple[Any, ...]:
                self._prepare(visit, canvas)
                found = switch.solve(self.workshop, visit, bool(few), tell)
                told = {"room": found.seed, "light": found.light, "wall": found.wall, "rest_moved": found.moved}
                return work.result(self.workshop, light_of(visit), found), found.verdict.html(), told

            for told, value in follow(self.workshop, visit, job):
                if value is None:
                    yield {self.parts.note: told}
                else:
                    yield {**self._off(visit, value), self.parts.result: value[2]}

        return lamp

    def show(self, visit: Visit, generator: str = EMBEDDED, seeds: str = work.FIRST) -> Page:
        """Show rooms, one for each seed ("0-7", or "3, 5, 11"); the brightest lamp of the embedded ones is marked."""

        def job(tell: Tell) -> tuple[Any, str]:
            tell(News("Painting rooms"))
            return work.opened(self.workshop, visit, generator, seeds)

        for told, value in follow(self.workshop, visit, job):
            if value is None:
                yield {self.parts.note: told}
            else:
                yield {**self._canvas(visit, "", value[1]), self.parts.rooms: value[0], self.parts.verdict: ""}

    def click(self, visit: Visit, canvas: str, click: gr.SelectData) -> Page:
        """A room was chosen among the small ones; a switch that is there is shown in it at once."""

        def job(tell: Tell) -> tuple[str, str]:
            self._prepare(visit, canvas)
            mine = light_of(visit)
            seed = mine.rooms.seeds[min(int(click.index), len(mine.rooms.seeds) - 1)]
            value = work.chosen(self.workshop, visit, seed)
            if mine.switch is None or seed not in mine.masks:
                return value, ""
            found = switch.shown(self.workshop, mine, mine.switch, seed)
            return work.result(self.workshop, mine, found), found.verdict.html()

        for told, value in follow(self.workshop, visit, job):
            if value is None:
                yield {self.parts.note: told}
            else:
                yield {**self._canvas(visit, "", value[0]), self.parts.verdict: value[1]}

    def wipe(self, visit: Visit) -> Page:
        """Take the mark of the room on the canvas away."""

        def job(tell: Tell) -> str:
            if light_of(visit).at is None:
                work.opened(self.workshop, visit, EMBEDDED, work.FIRST)
            mine = light_of(visit)
            mine.masks.pop(light.on_canvas(mine), None)
            return light.canvas_of(self.workshop, visit, light.on_canvas(mine))

        for told, value in follow(self.workshop, visit, job):
            yield self._canvas(visit, told or says("Paint over what should go dark, then press Switch it off."), value)

    def other_rooms(self, visit: Visit) -> Page:
        """The same switch in the other rooms, each as strongly as it needs."""
        for told, found in follow(self.workshop, visit, lambda tell: switch.others(self.workshop, visit, tell)):
            yield {self.parts.note: told} | ({self.parts.strip: work.strip(found)} if found is not None else {})

    def neurons(self, visit: Visit, canvas: str = "") -> Page:
        """Score every neuron by "darkens the mark, leaves the rest", and show the best with each one switched off."""

        def job(tell: Tell) -> str:
            self._prepare(visit, canvas)
            light.rank(self.workshop, visit, confirm=64, mode="style", tell=tell)
            return work.neurons(self.workshop, visit)

        for told, found in follow(self.workshop, visit, job):
            yield {self.parts.unit_note: told} | ({self.parts.neurons: found} if found is not None else {})

    def save(self, visit: Visit) -> dict[Any, Any]:
        """The switch as a unit edit file, for `styles turn` and the workbench."""
        try:
            path = switch.save(visit)
        except Exception as error:
            return {self.parts.note: trouble(error)}
        return {
            self.parts.note: says("The switch is below."),
            self.parts.file: gr.update(value=str(path), visible=True),
        }

    def load(self, visit: Visit, file: str, canvas: str = "") -> Page:
        """Open a saved switch, such as from `styles control` or "Save the switch", and show it in the room on the
        canvas."""

        def job(tell: Tell) -> tuple[str, str]:
            self._prepare(visit, canvas)
            found = switch.load(self.workshop, visit, file)
            return work.result(self.workshop, light_of(visit), found), found.verdict.html()

        for told, value in follow(self.workshop, visit, job):
            yield {self.parts.note: told} if value is None else self._off(visit, value)

    def _off(self, visit: Visit, value: Any) -> dict[Any, Any]:
        """The room going off, its verdict, and what a switch makes possible."""
        live = {button: gr.update(interactive=True) for button in self.parts.after()}
        return {**self._canvas(visit, "", value[0]), self.parts.verdict: value[1], **live}

    def gif(self, visit: Visit) -> Page:
        """The room on the canvas going off and on, as a GIF."""
        for told, path in follow(self.workshop, visit, lambda tell: switch.gif(self.workshop, visit)):
            found: dict[Any, Any] = {self.parts.note: told}
            if path is not None:
                found[self.parts.file] = gr.update(value=str(path), visible=True)
            yield found
