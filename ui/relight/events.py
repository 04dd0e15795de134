"""What happens on the card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ui.bench.downloads import CLICK
from ui.lamp.marks import painted
from ui.relight import work
from ui.relight.parts import Parts
from ui.relight.work import ALL, ONE, desk_of
from ui.workshop.card import Shared
from ui.workshop.following import follow, handed
from ui.workshop.parts import LANE, LIGHT
from ui.workshop.session import News, Tell, Visit

Page = Iterator[dict[Any, Any]]


class RelightEvents:
    """The card's events on one workshop."""

    def __init__(self, shared: Shared, parts: Parts) -> None:
        self.workshop, self.visit, self.parts = shared.workshop, shared.visit, parts

    def wire(self) -> None:
        """Make everything live."""
        parts, visit = self.parts, self.visit
        wish = [parts.fraction, parts.which, parts.canvas]
        shown = [parts.note, parts.after, parts.verdict, parts.make]
        parts.run.wire(self.working(), visit, wish, [*shown, parts.result], api_name="relight")
        fresh = [parts.canvas, parts.which, *shown]
        parts.photo.upload(self.open, [visit, parts.photo], fresh, api_name="relight_photo", **LANE)
        parts.example.click(self.example, visit, fresh, api_name="relight_example", **LANE)
        parts.wipe.click(self.wipe, visit, [parts.canvas, parts.which, parts.note], api_name="relight_wipe", **LIGHT)
        gr.on(
            [field.change for field in (parts.canvas, parts.which, parts.fraction)], self.touched, [visit, *wish],
            [parts.which, parts.verdict], api_visibility="private", trigger_mode="always_last", **LIGHT,
        )  # fmt: skip
        job = parts.make.click(self.write, visit, [parts.note, parts.file], api_name="relight_picture", **LANE)
        job.then(None, js=CLICK.replace("{place}", "relight-file"), api_visibility="private")

    def working(self) -> Callable[..., Page]:
        """The handler of the main button."""

        def relight(visit: Visit, fraction: float = 0.0, which: str = ALL, canvas: str = "") -> Page:
            """Relight the photograph that was opened (the example where none was): its lamps at a fraction of their
            light, 0 off, 1 as it is, or lit where none burns. `which`: "All lamps", or "Only what I paint" with the
            mark on the canvas."""

            def job(tell: Tell) -> work.Relit:
                wish = work.wish_of(fraction, which, canvas)
                tell(News("Relighting"))
                return work.relit(self.workshop, visit, wish)

            for told, found in follow(self.workshop, visit, job):
                yield {self.parts.note: told} if found is None else self._shown(found)

        return relight

    def open(self, visit: Visit, photo: str) -> Page:
        """Open a photograph (PNG, JPEG, WebP; up to 64 megapixels and 20 MB). It stays in this visit's own folder."""
        yield from self._fresh(visit, lambda: work.opened(visit, photo), "Opening the photograph")

    def example(self, visit: Visit) -> Page:
        """Go back to the example, a rendered room."""
        yield from self._fresh(visit, lambda: work.example(visit), "Opening the example")

    def wipe(self, visit: Visit) -> dict[Any, Any]:
        """Take the mark away; all lamps are meant again."""
        return {self.parts.canvas: work.canvas_of(visit), self.parts.which: ALL, self.parts.note: ""}

    def touched(self, visit: Visit, fraction: float, which: str, canvas: str) -> tuple[Any, Any]:
        """Who paints means what is painted; and a changed wish is another than the picture's."""
        desk, chosen = desk_of(visit), which
        mark = work.mark_in(canvas)
        if mark != desk.mark:
            desk.mark = mark
            if _painted(canvas):
                chosen = ONE
        verdict: Any = gr.skip()
        if not visit.busy and desk.verdict is not None:
            changed = work.stale(desk, fraction, chosen, canvas)
            said = desk.verdict.stale("The wish is another now; press the button again.") if changed else desk.verdict
            verdict = said.html()
        return (gr.skip() if chosen == which else chosen), verdict

    def write(self, visit: Visit) -> Page:
        """The relit photograph at its own size, as a JPEG where it was one, else as a PNG."""

        def start() -> Iterator[News]:
            return self.workshop.work(visit, lambda tell: work.written(self.workshop, visit, tell))

        def about() -> str:
            desk = desk_of(visit)
            return f", {desk.size[0]} × {desk.size[1]} pixels"

        for told, path in handed(start, about):
            yield {self.parts.note: told, self.parts.file: path}

    def _fresh(self, visit: Visit, job: Callable[[], str], saying: str) -> Page:
        """Another photograph on the canvas, nothing relit of it."""

        def opening(tell: Tell) -> str:
            tell(News(saying))
            return job()

        parts = self.parts
        for told, canvas in follow(self.workshop, visit, opening):
            if canvas is None:
                yield {parts.note: told}
                continue
            yield {
                parts.note: "", parts.canvas: canvas, parts.which: ALL, parts.after: "", parts.verdict: "",
                parts.make: gr.update(interactive=False),
            }  # fmt: skip

    def _shown(self, found: work.Relit) -> dict[Any, Any]:
        parts = self.parts
        return {
            parts.note: "", parts.after: work.as_html(found), parts.verdict: found.verdict.html(),
            parts.make: gr.update(interactive=True), parts.result: found.figures,
        }  # fmt: skip


def _painted(canvas: str) -> bool:
    """Whether there is paint on the canvas; what no painter made is told where it is used."""
    try:
        return painted(canvas, None) is not None
    except ValueError:
        return False
