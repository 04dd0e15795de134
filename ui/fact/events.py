"""What happens on the card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ui.fact import files, shown, work
from ui.fact.board import Board
from ui.fact.files import KINDS
from ui.fact.heat import held, picked
from ui.fact.parts import Fields, Parts, labels
from ui.fact.wish import asked_of, wish_of
from ui.fact.work import desk_of
from ui.fact.world import examples
from ui.workshop.card import Shared
from ui.workshop.following import handed
from ui.workshop.parts import LANE, LIGHT, says, trouble
from ui.workshop.session import EMBEDDED, News, Visit

Page = Iterator[dict[Any, Any]]
_CLICK = "() => setTimeout(() => document.querySelector('#{place} a, a#{place}, #{place}')?.click(), 150)"
"""Press the hidden download button, so that making a file and having it is one click."""


class FactEvents:
    """The events of the card."""

    def __init__(self, shared: Shared, fields: Fields, parts: Parts) -> None:
        self.workshop, self.visit, self.fields, self.parts = shared.workshop, shared.visit, fields, parts

    def wire(self) -> None:
        """Make everything live."""
        fields, parts, visit = self.fields, self.parts, self.visit
        everything = [*parts.shown(), *fields.all()]
        parts.run.wire(
            self._changing(), visit, fields.all(), [*parts.shown(), fields.old], api_name="fact",
            also=[fields.prompt.submit, fields.subject.submit, fields.new.submit],
        )  # fmt: skip
        parts.strength.input(
            self.strength, [visit, parts.strength], parts.shown(), api_name="fact_strength",
            trigger_mode="always_last", **LANE,
        )  # fmt: skip
        parts.undo.click(self.undo, visit, everything, api_name="fact_undo", **LIGHT)
        parts.redo.click(self.redo, visit, everything, api_name="fact_redo", **LIGHT)
        fields.model.input(
            self.model, [visit, fields.model], [*fields.all(), parts.examples, parts.note], api_name="fact_model",
            **LIGHT,
        )  # fmt: skip
        parts.examples.input(
            self.example, [visit, fields.model, parts.examples], fields.all(), api_name="fact_example", **LIGHT
        )
        parts.map.submit(
            self._choose, [visit, parts.map], [fields.layer, parts.note], api_visibility="private", **LIGHT
        )
        gr.on(
            [field.change for field in fields.all()], self._touched, [visit, *fields.all()],
            [parts.sentence, parts.verdict, parts.answers], api_visibility="private", trigger_mode="always_last",
            **LIGHT,
        )  # fmt: skip
        gr.on(
            [fields.prompt.blur, fields.subject.blur], self.says,
            [visit, fields.model, fields.prompt, fields.subject], [fields.old, parts.note], api_name="fact_says",
            **LANE,
        )  # fmt: skip
        self._wire_files(everything)

    def _wire_files(self, everything: list[Any]) -> None:
        parts = self.parts
        for kind, button in parts.make.items():
            job = button.click(
                self._maker(kind), self.visit, [parts.files_note, parts.file[kind]], api_name=f"fact_{kind}", **LANE
            )
            job.then(None, js=_CLICK.replace("{place}", f"fact-file-{kind}"), api_visibility="private")
        parts.load.upload(
            self.load, [self.visit, self.fields.model, parts.load], [*everything, parts.files_note],
            api_name="fact_load", **LANE,
        )  # fmt: skip

    # Jobs

    def _changing(self) -> Callable[..., Page]:
        def change(
            visit: Visit, model: str = EMBEDDED, prompt: str = "", subject: str = "", old: str = "", new: str = "",
            wordings: str = "", neighbours: str = "", layer: float = -1, method: str = "rome",
        ) -> Page:  # fmt: skip
            """Change a fact: trace where the model holds it, write the new answer there, ask before and after.

            `prompt` is the sentence up to its answer, with `subject` in it; `old` is what it says now, empty for
            whatever that is; `wordings` and `neighbours` are asked too, one a line, empty for those that are known;
            `layer` -1 is the trace's; `method` is rome, memit or null.
            """
            yield from self._followed(
                visit,
                lambda: work.change(
                    self.workshop,
                    visit,
                    wish_of(model, prompt, subject, old, new, wordings, neighbours, layer, method),
                ),
                button=True,
            )

        return change

    def strength(self, visit: Visit, strength: float = 1.0) -> Page:
        """Ask again with the change at another strength: 0 is the original, 1 the whole change."""
        for found in self._followed(visit, lambda: work.turn(self.workshop, visit, strength)):
            found.pop(self.parts.strength, None)  # it is under the hand
            yield found

    def says(self, visit: Visit, model: str = EMBEDDED, prompt: str = "", subject: str = "") -> Page:
        """What the model says after a sentence; nothing of a model that is not open yet, since that takes long."""
        fields, board = self.fields, desk_of(visit).board
        asked = " ".join(str(prompt or "").replace("{}", str(subject or "")).split())
        if (model, asked) == (board.model, board.fact.asked):
            yield {fields.old: board.fact.old}
            return
        if not asked or visit.busy or not (model == EMBEDDED or self.workshop.speaks(model)):
            yield {fields.old: gr.skip() if not asked or visit.busy else ""}
            return
        try:
            *_, last = work.says(self.workshop, visit, model, prompt, subject)
            yield {fields.old: last.value[0], self.parts.note: ""}
        except Exception as error:
            yield {self.parts.note: trouble(error)}

    def load(self, visit: Visit, model: str = EMBEDDED, file: str | None = None) -> Page:
        """Open an edit file of facts on this model, or a recipe of facts, whose first fills the fields."""
        parts = self.parts
        try:
            if file is None:
                raise ValueError("choose a file first: an edit (.safetensors) or a recipe (.yaml)")
            if not str(file).endswith(".safetensors"):
                fact = files.read_recipe(file)
                near = "\n".join(f"{prompt} = {answer}" for prompt, answer in fact.neighbours)
                filled = (model, fact.asked, fact.subject, fact.old, fact.new, "\n".join(fact.paraphrases), near)
                held = dict(zip(self.fields.all(), (*filled, -1, "rome"), strict=True))
                yield {parts.files_note: says("The recipe fills the fields; press “Change it”."), **held}
                return
            for news in files.load(self.workshop, visit, model, file):
                if not news.done:
                    yield {parts.files_note: says(news)}
                    continue
                yield {parts.files_note: says("The edit is open."), **self._page(visit), **self._filled(news.value)}
        except Exception as error:
            yield {parts.files_note: trouble(error)}

    def _maker(self, kind: str) -> Callable[..., Page]:
        told, file = self.parts.files_note, self.parts.file[kind]

        def make(visit: Visit) -> Page:
            for said, path in handed(
                lambda: files.write(self.workshop, visit, kind), lambda: f", {desk_of(visit).board.title}"
            ):
                yield {told: said, file: path}

        make.__doc__ = f"Write the {KINDS[kind][0]} of the version that stands on the card. {KINDS[kind][1]}"
        return make

    def _followed(self, visit: Visit, start: Callable[[], Iterator[News]], *, button: bool = False) -> Page:
        parts = self.parts
        try:
            for news in start():
                found: dict[Any, Any] = {parts.note: "" if news.done else says(news)}
                if isinstance(news.value, Board) and not news.done:
                    found |= {parts.answers: shown.answers(news.value), parts.verdict: ""}
                    if news.value.map is not None:
                        found |= {parts.map: held(news.value), parts.why: shown.why(news.value)}
                if news.done:
                    found |= self._page(visit)
                    if button:
                        found[self.fields.old] = news.value.fact.old
                yield found
        except Exception as error:
            yield {**self._page(visit), parts.note: trouble(error)}

    # Light events

    def undo(self, visit: Visit) -> dict[Any, Any]:
        """One step back in this card's history; before the first change stands the original model."""
        return self._move(visit, -1)

    def redo(self, visit: Visit) -> dict[Any, Any]:
        """One step forward in this card's history."""
        return self._move(visit, +1)

    def _move(self, visit: Visit, by: int) -> dict[Any, Any]:
        try:
            board = work.go(visit, by)
        except Exception as error:
            return {self.parts.note: trouble(error)}
        return {self.parts.note: "", **self._page(visit), **self._filled(board)}

    def model(self, visit: Visit, model: str = EMBEDDED) -> dict[Any, Any]:
        """Work on another language model: its first example fills the fields."""
        parts = self.parts
        filled = self._example(model, 0)
        told = "" if model == EMBEDDED else f"“Change it” opens {model}; on a slow processor that takes minutes."
        return {**filled, parts.examples: gr.update(choices=labels(model), value=0), parts.note: says(told)}

    def example(self, visit: Visit, model: str = EMBEDDED, number: float = 0) -> dict[Any, Any]:
        """Fill the fields with one of the model's examples, numbered from 0."""
        return self._example(model, int(number or 0))

    def _example(self, model: str, number: int) -> dict[Any, Any]:
        known = examples(model)
        fact = known[number if 0 <= number < len(known) else 0]
        filled = (model, fact.asked, fact.subject, fact.old, fact.new, "", "", -1, "rome")
        return dict(zip(self.fields.all(), filled, strict=True))

    def _choose(self, visit: Visit, value: str) -> dict[Any, Any]:
        """Write in the layer whose number was chosen on the map."""
        try:
            layer = picked(value)
        except ValueError as error:
            return {self.parts.note: trouble(error)}
        return {
            self.fields.layer: layer,
            self.parts.note: says(f"It will be written in layer {layer}; press “Change it”."),
        }

    def _touched(
        self, visit: Visit, model: str, prompt: str, subject: str, old: str, new: str, *rest: Any
    ) -> dict[Any, Any]:
        """A field says something else: the sentence follows, and the verdict is greyed where it no longer fits."""
        parts, desk = self.parts, desk_of(visit)
        found: dict[Any, Any] = {parts.sentence: shown.sentence(model, prompt, subject, old, new)}
        if visit.busy or not desk.board.done:
            return found
        other = asked_of(model, prompt, subject, new, *rest) != desk.board.asked
        stale = other or str(old or "").strip() not in ("", desk.board.fact.old)
        original = not desk.at
        found[parts.verdict] = shown.verdict(desk.board, original=original, stale=stale)
        found[parts.answers] = shown.answers(desk.board, original=original, stale=stale)
        return found

    # What is shown

    def _page(self, visit: Visit) -> dict[Any, Any]:
        """Everything of the version that holds."""
        parts, desk = self.parts, desk_of(visit)
        board, original = desk.board, not desk.at
        return {
            parts.verdict: shown.verdict(board, original=original),
            parts.answers: shown.answers(board, original=original),
            parts.why: shown.why(board),
            parts.map: held(board),
            parts.figures: "" if original else shown.figures(board),
            parts.past: shown.past(desk.at, len(desk.made), board),
            parts.strength: gr.update(value=board.strength, interactive=not original),
            parts.undo: gr.update(interactive=desk.at > 0),
            parts.redo: gr.update(interactive=desk.at < len(desk.made)),
            parts.result: _told(board, original),
        }

    def _filled(self, board: Board) -> dict[Any, Any]:
        """The fields as a board has them, where they say something else."""
        fact, fields = board.fact, self.fields
        return {
            fields.model: board.model, fields.prompt: fact.asked, fields.subject: fact.subject, fields.old: fact.old,
            fields.new: fact.new,
        }  # fmt: skip


def _told(board: Board, original: bool) -> dict[str, Any]:
    """A board as plain data for a program."""
    state, sentence = board.verdict()
    learned, wordings, same, near = board.counts()
    rows = [
        {
            "role": row.role,
            "prompt": row.prompt,
            "before": row.before.word,
            "before_chance": round(row.before.chance, 4),
            "after": row.after.word,
            "after_chance": round(row.after.chance, 4),
            "said": "" if original else row.said,
        }
        for row in board.rows
        if row.after is not None
    ]
    traced = board.map and {"layer": board.map.layer, "sentence": board.map.why, "tokens": list(board.map.tokens),
                            "effects": board.map.effects}  # fmt: skip
    return {
        "verdict": "calm" if original else state,
        "sentence": "The original model." if original else sentence,
        "learned": [0 if original else learned, wordings],
        "unchanged": [same, near],
        "layers": list(board.layers),
        "method": board.method,
        "strength": 0.0 if original else board.strength,
        "measures": {} if original else dict(board.measures),
        "rows": rows,
        "trace": traced,
    }
