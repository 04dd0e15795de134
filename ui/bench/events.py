"""What happens on a card that changes an image model: jobs followed to their end, strength, history, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from ui.bench import downloads, past, work
from ui.bench.layout import Parts
from ui.bench.pairs import shown
from ui.bench.verdict import Verdict
from ui.bench.work import Board, Judging, Wish, bench_of
from ui.workshop.card import Shared
from ui.workshop.parts import LANE, LIGHT, enlarged, says, trouble
from ui.workshop.session import News, Visit

Page = Iterator[dict[Any, Any]]


class BenchEvents:
    """The events of one card."""

    def __init__(self, shared: Shared, card: str, parts: Parts, judging: Judging | None = None) -> None:
        self.workshop, self.card, self.parts, self.judging = shared.workshop, card, parts, judging
        self.visit = shared.visit

    def wire(self, fields: Sequence[gr.components.Component]) -> None:
        """Make strength, history, downloads and staleness live. `fields` are what a solve depends on."""
        parts, card = self.parts, self.card
        shown = parts.shown()
        parts.strength.release(
            self.turn, [self.visit, parts.strength], shown, api_name=f"{card}_strength", trigger_mode="always_last",
            **LANE,
        )  # fmt: skip
        parts.undo.click(self.undo, self.visit, shown, api_name=f"{card}_undo", **LIGHT)
        parts.redo.click(self.redo, self.visit, shown, api_name=f"{card}_redo", **LIGHT)
        parts.past.submit(self.go, [self.visit, parts.past], shown, api_visibility="private", **LIGHT)
        downloads.wire(self.workshop, self.visit, card, parts.downloads)
        changes = [field.change for field in fields if hasattr(field, "change")]
        gr.on(
            changes, self.touched, [self.visit, *fields], [parts.verdict, parts.pairs], api_visibility="private",
            trigger_mode="always_last", **LIGHT,
        )  # fmt: skip

    # Jobs

    def solve(self, visit: Visit, wish: Callable[[], Wish], strength: float) -> Page:
        """Follow a solve. Errors are told beside the button."""
        yield from self._followed(
            visit, lambda: work.solve(self.workshop, visit, self.card, wish(), float(strength), self.judging)
        )

    def turn(self, visit: Visit, strength: float = 1.0) -> Page:
        """Paint what stands on the card at another strength, without solving again."""
        bench = bench_of(visit, self.card)
        if bench.board is not None:
            yield {self.parts.pairs: shown(bench.board.cells, stale=True)}
        yield from self._followed(visit, lambda: work.turn(self.workshop, visit, self.card, strength, self.judging))

    def undo(self, visit: Visit) -> dict[Any, Any]:
        """One step back in this card's history."""
        return self._move(visit, -1)

    def redo(self, visit: Visit) -> dict[Any, Any]:
        """One step forward in this card's history."""
        return self._move(visit, +1)

    def go(self, visit: Visit, step: str = "") -> dict[Any, Any]:
        """To a step of this card's history that was chosen by its picture."""
        return self._move(visit, step=step)

    def _move(self, visit: Visit, by: int = 0, *, step: str | None = None) -> dict[Any, Any]:
        try:
            if visit.busy:
                raise ValueError("a job still runs; stop it first")
            at = bench_of(visit, self.card).versions.at + by if step is None else past.picked(step)
            board = work.go(visit, self.card, at)
        except Exception as error:
            return {self.parts.note: trouble(error), **self._past(visit)}
        return {self.parts.note: "", **self.page(visit, board)}

    def _followed(self, visit: Visit, start: Callable[[], Iterator[News]]) -> Page:
        parts = self.parts
        try:
            for news in start():
                found: dict[Any, Any] = {parts.note: "" if news.done else says(news)}
                if isinstance(news.value, Board):
                    found |= self.page(visit, news.value) if news.done else {parts.pairs: shown(news.value.cells)}
                    if not news.done:
                        found[parts.verdict] = ""
                yield found
        except Exception as error:
            yield {parts.note: trouble(error), **self._past(visit)}

    # What is shown

    def page(self, visit: Visit, board: Board | None) -> dict[Any, Any]:
        """Everything of a version: pictures, verdict, history, files, and the same for a program."""
        parts = self.parts
        version = bench_of(visit, self.card).versions.current
        if board is None:
            told = Verdict("calm", "The original model: nothing is changed.").html()
            found: dict[Any, Any] = {parts.pairs: "", parts.verdict: told, parts.result: None, parts.pictures: []}
        else:
            found = {
                parts.pairs: shown(board.cells),
                parts.verdict: board.verdict.html() if board.verdict else "",
                parts.result: told_of(board, version.strength if version else 0.0),
                parts.pictures: [
                    (enlarged(picture), f"{side}: {cell.shot.prompt}")
                    for cell in board.cells
                    for side, picture in (("before", cell.before), ("after", cell.after))
                    if picture is not None
                ],
            }
        kinds = tuple(parts.downloads.buttons)
        return (
            found
            | parts.downloads.ready(version, downloads.about(self.workshop, visit, version, kinds))
            | (self._past(visit))
        )

    def _past(self, visit: Visit) -> dict[Any, Any]:
        bench, parts = bench_of(visit, self.card), self.parts
        versions = bench.versions
        return {
            parts.undo: gr.update(interactive=versions.at > 0),
            parts.redo: gr.update(interactive=versions.at < len(versions.made)),
            parts.past: past.held(versions, bench.boards),
            parts.strength: versions.current.strength if versions.current else gr.skip(),
        }

    def touched(self, visit: Visit, *values: Any) -> dict[Any, Any]:
        """A field says something else than what the pictures were made with."""
        board = bench_of(visit, self.card).board
        if visit.busy or board is None or board.verdict is None:
            return {self.parts.verdict: gr.skip()}
        if board.asked == asked(values):
            return {self.parts.verdict: board.verdict.html(), self.parts.pairs: shown(board.cells)}
        stale = board.verdict.stale("The fields say something else now; press the button again.")
        return {self.parts.verdict: stale.html(), self.parts.pairs: shown(board.cells, stale=True)}


def asked(values: Sequence[Any]) -> str:
    """Fields' values as one text, so that two sayings can be compared."""
    return repr([str(value if value is not None else "").strip() for value in values])


def told_of(board: Board, strength: float) -> dict[str, Any]:
    """A board as plain data."""
    verdict = board.verdict
    return {
        "verdict": verdict.state if verdict else "",
        "sentence": verdict.sentence if verdict else "",
        "by": verdict.by if verdict else "",
        "strength": strength,
        "pictures": [
            {"prompt": cell.shot.prompt, "seed": cell.shot.seed, "role": cell.role, "seen_before": cell.saw_before,
             "seen_after": cell.saw_after}
            for cell in board.cells
        ],
    }  # fmt: skip
