"""What happens on the left side of the Edit tab: examples, rows added, lists read, the recipe shown and kept."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from concept_edit.recipe import Recipe
from ui.expert.edit_fields import Sheet, preview, values_of
from ui.workshop.examples import Example, everything_else, suggested
from ui.workshop.lists import read_list
from ui.workshop.parts import LIGHT, says, trouble
from ui.workshop.session import EMBEDDED, Visit
from ui.workshop.table import rows_of

_KEEP = "(yaml) => { if (!yaml.startsWith('#')) localStorage.setItem('concept-edit recipe', yaml); }"
_KEPT = "(visit) => [visit, localStorage.getItem('concept-edit recipe') || '']"


def wire(sheet: Sheet, visit: gr.State, prompt: gr.Textbox, seed: gr.Number, solve: gr.Button) -> None:
    """Make the fields live. An example also fills `prompt` and `seed`; `solve` lets the browser keep the recipe."""
    fields = sheet.fields

    def show(visit: Visit, *values: Any) -> tuple[str, str]:
        """The table, the kept prompts and the settings as a recipe in YAML."""
        return preview(visit, values)

    gr.on(
        [field.change for field in fields.all()], show, [visit, *fields.all()], [sheet.yaml, sheet.wrong],
        api_name="recipe", trigger_mode="always_last", **LIGHT,
    )  # fmt: skip
    filled_in = [*fields.all(), prompt, seed, sheet.model, sheet.note]
    for button, example in sheet.buttons:
        button.click(partial(_example, example), visit, filled_in, api_visibility="private", **LIGHT)

    _wire_adding(sheet, visit)
    _wire_lists(sheet, visit)
    _wire_again(sheet, visit, solve)


def _example(example: Example, visit: Visit) -> list[Any]:
    visit.base, visit.model = example.recipe, EMBEDDED
    told = says(f"{example.label}: press Solve and paint to see it.")
    return [*values_of(example.recipe), example.prompt, example.seed, EMBEDDED, told]


def _wire_adding(sheet: Sheet, visit: gr.State) -> None:
    line, rows = sheet.adding, sheet.fields.rows

    def append(visit: Visit, rows: list[list[Any]], change: str, concept: str, instead: str) -> tuple[Any, ...]:
        """Add one row to the table."""
        if not (concept or "").strip():
            return gr.skip(), gr.skip(), gr.skip(), trouble("Write a word or a short phrase under Concept first.")
        known, wordings = suggested(change, concept) if visit.model == EMBEDDED else ("", "")
        row = [change, concept.strip(), (instead or "").strip() or known, "1", wordings]
        return [*filled(rows), row], "", "", ""

    gr.on(
        [line.add.click, line.concept.submit, line.instead.submit], append,
        [visit, rows, line.change, line.concept, line.instead], [rows, line.concept, line.instead, sheet.note],
        api_name="add", **LIGHT,
    )  # fmt: skip

    def rest(rows: list[list[Any]]) -> str:
        """Everything the embedded model knows but the concepts of the table, one a line."""
        return everything_else(tuple(str(row[1] or "") for row in rows))

    sheet.everything.click(rest, rows, sheet.fields.keep, api_name="everything_else", **LIGHT)


def filled(rows: list[list[Any]]) -> list[list[Any]]:
    """The rows that say something."""
    return [row for row in rows if any(str(cell or "").strip() for cell in row[1:])]


def _wire_lists(sheet: Sheet, visit: gr.State) -> None:
    fields, listing = sheet.fields, sheet.listing

    def take(visit: Visit, text: str, path: str | None, *values: Any) -> list[Any]:
        """Read pasted text or a dropped file: names and CSV rows join the table, a recipe takes its place."""
        try:
            found = read_list(visit, text or "", path)
        except Exception as error:
            return [*[gr.skip()] * len(values), gr.skip(), trouble(error)]
        told = says(f"Read {len(found.edits)} concept{'s' * (len(found.edits) != 1)}.")
        if found != Recipe(edits=found.edits) or not filled(values[0]):
            visit.base = found
            return [*values_of(found), None, told]
        return [[*filled(values[0]), *rows_of(found)], *[gr.skip()] * (len(values) - 1), None, told]

    given = [visit, listing.pasted, listing.dropped, *fields.all()]
    listing.read.click(take, given, [*fields.all(), listing.dropped, sheet.note], api_name="list", **LIGHT)


def _wire_again(sheet: Sheet, visit: gr.State, solve: gr.Button) -> None:
    """The browser keeps the recipe that is solved, so that a reload or another server's start loses nothing asked."""
    fields = sheet.fields.all()

    def again(visit: Visit, kept: str | None) -> list[Any]:
        """The recipe this browser solved last, back in the fields."""
        try:
            if not (kept or "").strip():
                raise ValueError("this browser holds no recipe yet; it keeps the last one that was solved here")
            visit.base = Recipe.from_yaml(str(kept))
        except Exception as error:
            return [*[gr.skip()] * len(fields), trouble(error)]
        return [*values_of(visit.base), says("Your last recipe: press Solve and paint to have its edit again.")]

    solve.click(None, sheet.yaml, None, js=_KEEP, api_visibility="private", queue=False)
    sheet.again.click(again, [visit, sheet.yaml], [*fields, sheet.note], js=_KEPT, api_visibility="private", **LIGHT)
