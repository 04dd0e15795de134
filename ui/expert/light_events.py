"""What happens on the Light tab: page values in, page values out. The work is in `light` and `desk`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from ui.lamp import desk, light
from ui.lamp.desk import SLIDERS
from ui.lamp.light import Found, Slider
from ui.lamp.marks import as_html
from ui.workshop.following import follow
from ui.workshop.parts import says
from ui.workshop.session import EMBEDDED, Tell, Visit, Workshop

Page = Iterator[tuple[Any, ...]]
ALL_SLIDERS = ("to where the sliders stand", "")
_EXAMPLE = "0-7"
_SEEN = (gr.update(visible=False), gr.update(visible=True))
_LAID = 3 * SLIDERS + 5


class LightEvents:
    """The tab's events on one workshop. Every generator yields the values of its outputs, the note first."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    def _run(self, visit: Visit, job: Callable[[Tell], Any], width: int) -> Page:
        """Follow a job whose result is a tuple of `width` page values."""
        for told, value in follow(self.workshop, visit, job):
            yield (told, *(value if value is not None else [gr.skip()] * width))

    # Rooms and marks

    def show(
        self, visit: Visit, generator: str, seeds: str, variety: float, label: float | None, canvas: str | None
    ) -> Page:
        """Paint rooms: one for each seed ("0-7", or "3, 5, 11"). A mark that is on the canvas stays with its room."""

        def job(tell: Tell) -> tuple[Any, ...]:
            light.keep_mark(self.workshop, visit, canvas)
            rooms = light.rooms_from(generator, seeds, variety, label)
            return self._rooms(visit, rooms)

        for told, *values in self._run(visit, job, 5):
            yield (told or says("Click the room whose lamp you want."), *values)

    def example(self, visit: Visit, canvas: str | None) -> Page:
        """Show the embedded rooms and mark the lamp that burns brightest."""

        def job(tell: Tell) -> tuple[Any, ...]:
            light.keep_mark(self.workshop, visit, canvas)
            rooms = light.rooms_from(EMBEDDED, _EXAMPLE)
            pictures, *_ = self._rooms(visit, rooms)
            seed = light.brightest_lamp(rooms.seeds)
            light.canvas_of(self.workshop, visit, seed)
            light.mark_lamp(self.workshop, visit)
            marked = light.canvas_of(self.workshop, visit, seed)
            return pictures, _choice(rooms.seeds, seed), marked, *_SEEN, _EXAMPLE, EMBEDDED

        for told, *values in self._run(visit, job, 7):
            yield (told or says("The lamp is marked: press “Find the units behind the mark”."), *values)

    def choose_room(self, visit: Visit, room: float | None, canvas: str | None) -> Page:
        """Put a room on the canvas; what is painted on the one before is kept."""

        def job(tell: Tell) -> tuple[Any, ...]:
            light.keep_mark(self.workshop, visit, canvas)
            if room is None:
                raise ValueError("choose one of the rooms")
            return (light.canvas_of(self.workshop, visit, int(room)),)

        for told, *values in self._run(visit, job, 1):
            yield (told or says("Paint over the lamp."), *values)

    def click_room(self, visit: Visit, canvas: str | None, click: gr.SelectData) -> Page:
        """A room was clicked in the gallery."""
        seeds = light.light_of(visit).rooms.seeds
        room = seeds[int(click.index)] if int(click.index) < len(seeds) else None
        for values in self.choose_room(visit, room, canvas):
            yield (*values, room, *_SEEN)

    def mark_lamp(self, visit: Visit) -> Page:
        """Mark the lamp of the room on the canvas, where the embedded rooms' renderer puts it."""

        def job(tell: Tell) -> tuple[Any, ...]:
            light.mark_lamp(self.workshop, visit)
            return (self._canvas(visit),)

        yield from self._run(visit, job, 1)

    def mark_file(self, visit: Visit, file: str) -> Page:
        """Use the white (or opaque) pixels of a picture as the mark of the room on the canvas."""

        def job(tell: Tell) -> tuple[Any, ...]:
            light.take_mark(self.workshop, visit, file)
            return (self._canvas(visit),)

        yield from self._run(visit, job, 1)

    def wipe(self, visit: Visit) -> Page:
        """Forget the mark of the room on the canvas."""

        def job(tell: Tell) -> tuple[Any, ...]:
            mine = light.light_of(visit)
            mine.masks.pop(light.on_canvas(mine), None)
            return (self._canvas(visit),)

        yield from self._run(visit, job, 1)

    # Units

    def find(self, visit: Visit, canvas: str | None, confirm: float, mode: str) -> Page:
        """Rank the units behind the mark; the best one is given a slider."""

        def job(tell: Tell) -> tuple[Any, ...]:
            light.keep_mark(self.workshop, visit, canvas)
            found = light.rank(self.workshop, visit, confirm=int(confirm), mode=mode, tell=tell)
            name = found.units[0][1]
            laid = [unit for _, unit in self._named(visit)]
            names = laid if name in laid or len(laid) == SLIDERS else [name, *laid]
            made = desk.put_on_desk(self.workshop, visit, names)
            choices = gr.update(choices=_choices(found, names), value=names)
            kinds = gr.update(value="all", visible=True)
            return (found.text, _gallery(found), kinds, gr.update(visible=True), choices, *self._laid(visit, made))

        for told, value in follow(self.workshop, visit, job):
            yield (told, *[gr.skip()] * (4 + _LAID)) if value is None else (says(value[0]), *value[1:])

    def kind(self, visit: Visit, kind: str) -> Page:
        """Show the best units of one kind: all, light, warmth or shape."""

        def job(tell: Tell) -> tuple[Any, ...]:
            found = light.found(self.workshop, visit, None if kind == "all" else kind)
            return found.text, _gallery(found)

        for told, value in follow(self.workshop, visit, job):
            yield (told, gr.skip()) if value is None else (says(value[0]), value[1])

    def click_unit(self, visit: Visit, kind: str, names: Sequence[str], inside: bool, click: gr.SelectData) -> Page:
        """A unit was clicked in the gallery: it is given a slider."""

        def job(tell: Tell) -> tuple[Any, ...]:
            found = light.names(visit, None if kind == "all" else kind)
            name = found[int(click.index)][1]
            chosen = [*names, *([name] if name not in names else [])]
            made = desk.put_on_desk(self.workshop, visit, chosen)
            known = gr.update(value=chosen)
            return (known, *self._laid(visit, made, inside))

        yield from self._run(visit, job, 1 + _LAID)

    # The desk

    def lay(self, visit: Visit, names: Sequence[str], inside: bool) -> Page:
        """Give these units a slider, such as "b16.conv1:12", and no others."""

        def job(tell: Tell) -> tuple[Any, ...]:
            return self._laid(visit, desk.put_on_desk(self.workshop, visit, names or []), inside)

        yield from self._run(visit, job, _LAID)

    def turn(self, visit: Visit, inside: bool, *values: float) -> Page:
        """Move the sliders and paint the room on the canvas; inside the mark only, or everywhere."""

        def job(tell: Tell) -> tuple[Any, ...]:
            desk.set_values(visit, values)
            return self._result(visit, inside)

        yield from self._run(visit, job, 3)

    def reset(self, visit: Visit, inside: bool) -> Page:
        """Put every slider back to where nothing is changed."""

        def job(tell: Tell) -> tuple[Any, ...]:
            return self._laid(visit, desk.reset(self.workshop, visit), inside)

        yield from self._run(visit, job, _LAID)

    def load(self, visit: Visit, file: str, inside: bool) -> Page:
        """Load a unit edit from its file; its units get sliders."""

        def job(tell: Tell) -> tuple[Any, ...]:
            made = desk.load(self.workshop, visit, file)
            names = self._named(visit)
            shown = [name for _, name in names][:SLIDERS]
            return (gr.update(choices=names, value=shown), *self._laid(visit, made, inside))

        for told, *values in self._run(visit, job, 1 + _LAID):
            yield (told or says(_loaded(visit)), *values)

    def others(self, visit: Visit, seeds: str) -> Page:
        """Turn the same units in other rooms."""

        def job(tell: Tell) -> tuple[Any, ...]:
            return (gr.update(value=desk.others(self.workshop, visit, seeds), visible=True),)

        yield from self._run(visit, job, 1)

    def gif(self, visit: Visit, along: str, inside: bool) -> Page:
        """A moving picture: one unit along its slider, or from unchanged to the sliders and back."""

        def job(tell: Tell) -> tuple[Any, ...]:
            path = desk.sweep(self.workshop, visit, along or None, inside=inside, tell=tell)
            return (gr.update(value=str(path), visible=True),)

        yield from self._run(visit, job, 1)

    # Pieces

    def _rooms(self, visit: Visit, rooms: light.Rooms) -> tuple[Any, ...]:
        """Gallery, choice of rooms, canvas and what hides it; the room that was on the canvas stays there."""
        pictures = light.show_rooms(self.workshop, visit, rooms)
        at = light.light_of(visit).at
        canvas = "" if at is None else light.canvas_of(self.workshop, visit, at)
        shown = gr.update(value=pictures, visible=True, selected_index=None)
        seen = _SEEN if at is not None else (gr.update(visible=True), gr.update(visible=False))
        return shown, _choice(rooms.seeds, at), canvas, *seen

    def _canvas(self, visit: Visit) -> str:
        return light.canvas_of(self.workshop, visit, light.on_canvas(light.light_of(visit)))

    def _named(self, visit: Visit) -> list[tuple[str, str]]:
        """Label and name of every unit on the desk."""
        units = [f"{layer}:{channel}" for layer, channel in light.light_of(visit).desk.values]
        return [(unit, unit) for unit in units]

    def _laid(self, visit: Visit, made: Sequence[Slider], inside: bool = False) -> tuple[Any, ...]:
        """The desk's rows, the room as it is turned, the file, and what a GIF may show."""
        how = light.light_of(visit).desk.how
        rows: list[Any] = []
        for i in range(SLIDERS):
            rows += _row(made[i], how) if i < len(made) else [gr.update(visible=False), "", gr.update(value=0)]
        names = [ALL_SLIDERS, *((f"{slider.unit} along its slider", slider.unit) for slider in made)]
        tools = gr.update(visible=bool(made))
        return (*rows, tools, *self._result(visit, inside), gr.update(choices=names, value=""))

    def _result(self, visit: Visit, inside: bool) -> tuple[Any, ...]:
        """What stands there before, the room before and after, and the file of the edit."""
        mine = light.light_of(visit)
        if mine.at is None or not mine.desk.values:
            return *_SEEN[::-1], gr.update(interactive=False)
        shown = gr.update(value=desk.turned(self.workshop, visit, inside=inside), visible=True)
        turned = bool(mine.desk.edit().units)
        return _SEEN[0], shown, gr.update(value=str(desk.save(visit)) if turned else None, interactive=turned)


def _choice(seeds: Sequence[int], at: int | None) -> Any:
    return gr.update(choices=[(f"room {seed}", seed) for seed in seeds], value=at)


def _row(slider: Slider, how: str) -> list[Any]:
    unit = {"sigma": "standard deviations", "shift": "added", "scale": "times", "set": "value"}[how]
    moved = gr.update(
        minimum=slider.low, maximum=slider.high, value=slider.value, label=f"{slider.unit} ({unit})",
        step=0.1 if how == "sigma" else (slider.high - slider.low) / 240,
    )  # fmt: skip
    alt = f"The room along {slider.unit}, from {slider.low:.3g} on the left to {slider.high:.3g} on the right"
    return [gr.update(visible=True), as_html(slider.strip, alt), moved]


def _gallery(found: Found) -> Any:
    return gr.update(value=found.pictures, visible=True, selected_index=None)


def _choices(found: Found, names: Sequence[str]) -> list[tuple[str, str]]:
    known = {name for _, name in found.units}
    return [*found.units, *((name, name) for name in names if name not in known)]


def _loaded(visit: Visit) -> str:
    units = len(light.light_of(visit).desk.values)
    more = f"; the first {SLIDERS} have sliders, the others stay as the file has them" if units > SLIDERS else ""
    return f"{units} units are on the desk{more}."
