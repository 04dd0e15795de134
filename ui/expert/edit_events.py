"""What happens on the Edit tab: jobs followed to their end, the strength, the history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.expert.edit_fields import Fields, recipe_from, values_of
from ui.workshop import balancing
from ui.workshop import edit as handlers
from ui.workshop.edit import Seen
from ui.workshop.painting import Shot, shot_of
from ui.workshop.parts import LANE, enlarged, says, table, trouble
from ui.workshop.running import stops
from ui.workshop.session import BusyError, News, Visit, Workshop


@dataclass(frozen=True)
class Look:
    """What a picture is asked for with, and where it is shown."""

    prompt: gr.Textbox
    seed: gr.Number
    steps: gr.Number
    slider: gr.ImageSlider
    blank: gr.HTML
    """Stands where the pictures will be."""
    strength: gr.Slider
    note: gr.HTML

    def shot(self) -> list[Any]:
        """The fields a shot is made of."""
        return [self.prompt, self.seed, self.steps]


@dataclass(frozen=True)
class Past:
    """The history and its buttons."""

    undo: gr.Button
    redo: gr.Button
    history: gr.Radio
    concept: gr.Dropdown
    revoke: gr.Button

    def all(self) -> list[Any]:
        """Everything `past` fills."""
        return [self.undo, self.redo, self.history, self.concept, self.revoke]


@dataclass(frozen=True)
class Tab:
    """Everything of the tab that events need."""

    workshop: Workshop
    visit: gr.State
    fields: Fields
    look: Look
    past: Past
    effect: gr.Markdown
    drawn: tuple[gr.components.Component, ...]
    """How many pictures a search for balance may paint: a round, rounds, check."""
    measure: gr.Button

    def shown(self) -> list[Any]:
        """All that a job may change."""
        return [
            self.visit,
            self.look.slider,
            self.look.blank,
            self.look.strength,
            self.look.note,
            self.effect,
            *self.past.all(),
        ]


def wire(tab: Tab, predict: gr.Button, solve: gr.Button, paint: gr.Button, cancel: gr.Button) -> None:
    """Make the buttons, the strength and the history live."""
    _wire_work(tab, predict, solve, paint)
    _wire_past(tab)

    stops(cancel, tab.visit, tab.look.note, api_name="cancel")


def _wire_work(tab: Tab, predict: gr.Button, solve: gr.Button, paint: gr.Button) -> None:
    workshop, visit, look = tab.workshop, tab.visit, tab.look
    inputs = [visit, *tab.fields.all(), *look.shot(), look.strength]

    def on_predict(visit: Visit, *values: Any) -> Iterator[dict[Any, Any]]:
        """Measure on the text side what the recipe would do; nothing is kept and nothing is painted."""
        yield from follow(tab, visit, lambda: handlers.predict(workshop, visit, recipe_from(visit, values)))

    def on_solve(visit: Visit, *values: Any) -> Iterator[dict[Any, Any]]:
        """Solve the recipe, keep the edit in the history, paint before and after."""
        *fields, prompt, seed, steps, strength = values

        def start() -> Iterator[News]:
            recipe, shot = recipe_from(visit, tuple(fields)), shot_of(prompt, seed, steps)
            return handlers.solve(workshop, visit, recipe, shot, strength)

        yield from follow(tab, visit, start)

    def on_balance(visit: Visit, *values: Any) -> Iterator[dict[Any, Any]]:
        """Paint and count pictures, move the goals, solve again, until the shares of the table's balance rows are met;
        keep the edit in the history."""
        *fields, pictures, rounds, checked, prompt, seed, steps, strength = values

        def start() -> Iterator[News]:
            recipe, shot = recipe_from(visit, tuple(fields)), shot_of(prompt, seed, steps)
            drawn = balancing.drawn_of(pictures, rounds, checked, shot.steps)
            return handlers.balance(workshop, visit, recipe, drawn, shot, strength)

        yield from follow(tab, visit, start)

    def on_paint(visit: Visit, prompt: str, seed: float, steps: float) -> Iterator[dict[Any, Any]]:
        """Paint the prompt before and after, under the version of the history that holds."""
        yield from follow(tab, visit, lambda: handlers.look(workshop, visit, shot_of(prompt, seed, steps)))

    def on_strength(visit: Visit, strength: float, prompt: str, seed: float, steps: float) -> Iterator[dict[Any, Any]]:
        """Paint under the edit at another strength, without solving again."""
        yield from follow(tab, visit, lambda: handlers.turn(workshop, visit, strength, shot_of(prompt, seed, steps)))

    shown = tab.shown()
    predict.click(on_predict, [visit, *tab.fields.all()], shown, api_name="predict", **LANE)
    solve.click(on_solve, inputs, shown, api_name="solve", **LANE)
    tab.measure.click(
        on_balance, [visit, *tab.fields.all(), *tab.drawn, *look.shot(), look.strength], shown,
        api_name="balance", **LANE,
    )  # fmt: skip
    gr.on([paint.click, look.prompt.submit], on_paint, [visit, *look.shot()], shown, api_name="paint", **LANE)
    look.strength.input(
        on_strength,
        [visit, look.strength, *look.shot()],
        shown,
        api_name="strength",
        trigger_mode="always_last",
        **LANE,
    )


def follow(tab: Tab, visit: Visit, start: Callable[[], Iterator[News]]) -> Iterator[dict[Any, Any]]:
    """A job's news as they come, then its outcome or its error, each beside what it is about."""
    try:
        for news in start():
            if isinstance(news.value, Seen):
                yield outcome(tab, visit, news)
            else:
                yield {tab.look.note: says(news)}
    except Exception as error:
        yield {tab.visit: visit, tab.look.note: trouble(error), **past(tab, visit)}


def outcome(tab: Tab, visit: Visit, news: News) -> dict[Any, Any]:
    """What a job ended with, on the page."""
    seen: Seen = news.value
    found: dict[Any, Any] = {tab.visit: visit, tab.look.note: says("Done." if news.done else news), **past(tab, visit)}
    if seen.pictures is not None:
        found[tab.look.slider] = gr.update(value=tuple(map(enlarged, seen.pictures)), visible=True)
        found[tab.look.blank] = gr.update(visible=False)
    if seen.diagnosis is not None:
        found[tab.effect] = effect_text(seen)
    return found


def effect_text(seen: Seen) -> str:
    """The prediction as a sentence and a table."""
    assert seen.diagnosis is not None
    rows = handlers.effect(seen.diagnosis)
    counted = f"{balancing.outcome(seen.balance)}\n\n" if seen.balance is not None else ""
    return (
        f"{counted}{handlers.VERDICTS[seen.diagnosis.verdict]}\n\n{table(['', 'figure', 'worst at', 'verdict'], rows)}"
    )


def past(tab: Tab, visit: Visit) -> dict[Any, Any]:
    """The history's fields as the visit has them."""
    titles, version = visit.edits.titles(), visit.edits.current
    concepts = list(version.edit.concepts) if version else []
    first = concepts[0] if concepts else None
    return {
        tab.past.undo: gr.update(interactive=visit.edits.at > 0),
        tab.past.redo: gr.update(interactive=visit.edits.at < len(visit.edits.made)),
        tab.past.history: gr.update(choices=titles, value=titles[visit.edits.at]),
        tab.past.concept: gr.update(choices=concepts, value=first),
        tab.past.revoke: gr.update(interactive=bool(concepts)),
        tab.look.strength: version.strength if version else 1.0,
    }


# History


def _wire_past(tab: Tab) -> None:
    workshop, visit, look, history = tab.workshop, tab.visit, tab.look, tab.past
    shown = [*tab.shown(), *tab.fields.all()]

    def move(visit: Visit, at: int, shot: tuple[Any, ...]) -> Iterator[dict[Any, Any]]:
        """Go to a version, give the page its fields back, and paint it."""

        def start() -> Iterator[News]:
            if visit.busy:
                raise BusyError("your last job still runs; wait for it or cancel it first")
            ready: Shot = shot_of(*shot)
            if not visit.edits.go(at):
                raise ValueError("there is no such version in the history")
            return handlers.look(workshop, visit, ready)

        before = visit.edits.at
        for found in follow(tab, visit, start):
            if visit.edits.at != before:
                before = visit.edits.at
                yield {**found, **past(tab, visit), **_restored(tab, visit)}
            else:
                yield found

    def on_undo(visit: Visit, *shot: Any) -> Iterator[dict[Any, Any]]:
        """One step back in the history."""
        yield from move(visit, visit.edits.at - 1, shot)

    def on_redo(visit: Visit, *shot: Any) -> Iterator[dict[Any, Any]]:
        """One step forward in the history."""
        yield from move(visit, visit.edits.at + 1, shot)

    def on_history(visit: Visit, at: int | None, *shot: Any) -> Iterator[dict[Any, Any]]:
        """To the version chosen in the history; 0 is the original."""
        yield from move(visit, -1 if at is None else int(at), shot)

    def on_revoke(visit: Visit, concept: str | None, *shot: Any) -> Iterator[dict[Any, Any]]:
        """Take one concept out of the edit; the others are solved anew from what was measured."""
        for found in follow(tab, visit, lambda: handlers.revoke(workshop, visit, concept, shot_of(*shot))):
            yield {**found, **_restored(tab, visit)} if tab.past.history in found else found

    history.undo.click(on_undo, [visit, *look.shot()], shown, api_name="undo", **LANE)
    history.redo.click(on_redo, [visit, *look.shot()], shown, api_name="redo", **LANE)
    history.history.input(on_history, [visit, history.history, *look.shot()], shown, api_name="history", **LANE)
    history.revoke.click(on_revoke, [visit, history.concept, *look.shot()], shown, api_name="revoke", **LANE)


def _restored(tab: Tab, visit: Visit) -> dict[Any, Any]:
    """The fields of the version that holds; at the original they stay as they are, ready to be solved again."""
    version = visit.edits.current
    if version is None:
        return {}
    visit.base = version.edit.recipe
    return dict(zip(tab.fields.all(), values_of(version.edit.recipe), strict=True))
