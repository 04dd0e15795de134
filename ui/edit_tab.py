"""The Edit tab: what should change, what it will do, and how it looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from concept_edit.recipe import Recipe
from ui import edit as handlers
from ui.edit import Seen
from ui.examples import Example, everything_else, examples, suggested
from ui.lists import KINDS, read_list
from ui.look import empty
from ui.painting import Shot, shot_of
from ui.parts import LANE, LIGHT, enlarged, note, says, table, trouble
from ui.session import EMBEDDED, BusyError, News, Visit, Workshop, say
from ui.table import CHANGES, HEAD, rows_of

CHOICES = ("method", "tokens")
"""Settings of a recipe that are one of a list; the lists are the recipe's own."""
NUMBERS = {
    "ridge": "How strongly every matrix is held to its old value.",
    "erase_scale": "Weight of all edits.",
    "preserve_scale": "Weight of each kept prompt; empty for the default.",
}
START = "Click an example, or add a concept of your own. Then press Solve and paint."
PREDICTED = "The predicted effect appears here: what goes, what moves that should not."


@dataclass(frozen=True)
class Fields:
    """What a recipe is read from."""

    rows: gr.Dataframe
    keep: gr.Textbox
    settings: tuple[gr.components.Component, ...]

    def all(self) -> list[Any]:
        """Every field, in the order `recipe` takes their values."""
        return [self.rows, self.keep, *self.settings]


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
    yaml: gr.Code
    aside: gr.HTML
    """The note beside the table."""

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


def build(workshop: Workshop, visit: gr.State) -> None:
    """Lay the tab out and wire it."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=380):
            buttons, model, adding, fields, aside, yaml, listing = _left(workshop)
        with gr.Column(scale=6, min_width=380):
            look, run, past, effect = _right()
    tab = Tab(workshop, visit, fields, look, past, effect, yaml, aside)
    _wire_fields(tab, buttons, model, adding, listing)
    _wire_work(tab, run)
    _wire_past(tab)


# Layout


def _left(workshop: Workshop) -> tuple[Any, ...]:
    gr.Markdown("### 1 · What should change?")
    gr.Markdown("Start from an example, then change it:", elem_classes=["hint"])
    with gr.Row(elem_classes=["chips"]):
        buttons = [
            (gr.Button(each.label, size="sm", elem_id=f"example-{i}"), each) for i, each in enumerate(examples())
        ]
    with gr.Row(equal_height=True):
        change = gr.Dropdown(list(CHANGES), value="erase", label="Change", min_width=110, scale=2)
        concept = gr.Textbox(label="Concept", placeholder="such as Twemoji", min_width=140, scale=3)
        instead = gr.Textbox(label="Paint instead", placeholder="empty: nothing special", min_width=140, scale=3)
        add = gr.Button("Add", min_width=70, scale=1, elem_id="add")
    fields, listing, aside, yaml, model = _sheet(workshop)
    return buttons, model, (change, concept, instead, add), fields, aside, yaml, listing


def _sheet(workshop: Workshop) -> tuple[Any, ...]:
    rows = gr.Dataframe(
        headers=list(HEAD), datatype="str", type="array", column_count=len(HEAD), interactive=True, value=[],
        label="Concepts (double-click a cell to change it)", wrap=False, max_height=280, elem_id="concepts",
        column_widths=["16%", "22%", "26%", "13%", "23%"], buttons=[],
    )  # fmt: skip
    aside = note(elem_id="aside")
    keep = gr.Textbox(
        label="Keep as it is", lines=3, max_lines=8, elem_id="keep",
        info="Prompts whose pictures must stay, one a line.",
        placeholder="the neighbours of what you erase, such as other artists",
    )  # fmt: skip
    everything = gr.Button("Keep everything else the embedded model knows", size="sm", elem_id="everything")
    with gr.Accordion("Paste or drop a list", open=False):
        pasted = gr.Textbox(label="Names, one a line; or a CSV; or a recipe", lines=4, elem_id="pasted")
        dropped = gr.File(label="Or a file (.csv, .txt, .yaml)", file_types=list(KINDS), height=110)
        read = gr.Button("Read the list", size="sm", elem_id="read-list")
    with gr.Accordion("Model", open=False):
        model = gr.Dropdown(
            workshop.model_names(), value=EMBEDDED, label="Model", allow_custom_value=True, elem_id="model",
            info=f"'{EMBEDDED}' is embedded and works at once. Or write a hub id such as owner/name.",
        )  # fmt: skip
    with gr.Accordion("Settings of the solver", open=False):
        settings = _settings()
    with gr.Accordion("The recipe as YAML", open=False):
        yaml = gr.Code(value=Recipe().to_yaml(), language="yaml", label="Recipe", interactive=False, elem_id="yaml")
    return Fields(rows, keep, settings), (pasted, dropped, read, everything), aside, yaml, model


def _settings() -> tuple[gr.components.Component, ...]:
    """One field for each setting; the choices are those the recipe allows."""
    schema, plain = Recipe.model_json_schema()["properties"], Recipe()
    made: list[gr.components.Component] = []
    for name in CHOICES:
        allowed = schema[name].get("enum") or [schema[name]["const"]]
        info = schema[name].get("description", "").replace("`", "")
        made.append(gr.Dropdown(allowed, value=getattr(plain, name), label=_label(name), info=info))
    for name, info in NUMBERS.items():
        made.append(gr.Number(getattr(plain, name), label=_label(name), info=info, step=0.1, minimum=0))
    about = "Which matrices change: roles (k; v; pooled) or patterns such as up_blocks.*, by ';'. All if empty."
    made.append(gr.Textbox("", label="Layers", info=about))
    return tuple(made)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _right() -> tuple[Any, ...]:
    gr.Markdown("### 2 · See what it does")
    with gr.Row(equal_height=True):
        prompt = gr.Textbox(
            label="Prompt", value="a rocket in the style of Twemoji", scale=5, min_width=200, elem_id="prompt"
        )
        seed = gr.Number(1, label="Seed", precision=0, minimum=0, scale=1, min_width=80, elem_id="seed")
        steps = gr.Number(0, label="Steps (0: own)", precision=0, minimum=0, scale=1, min_width=100)
    with gr.Row():
        predict = gr.Button("Predict the effect", elem_id="predict")
        solve = gr.Button("Solve and paint", variant="primary", elem_id="solve")
        paint = gr.Button("Paint only", elem_id="paint")
        cancel = gr.Button("Cancel", elem_id="cancel", elem_classes=["calm"])
    told = note(elem_id="note")
    blank = gr.HTML(empty("Nothing painted yet", START), container=False, padding=False)
    slider = gr.ImageSlider(
        label="Before (left) and after (right), same seed", format="png", type="pil", interactive=False, height=400,
        visible=False, elem_id="before-after", slider_position=50, buttons=["download", "fullscreen"],
    )  # fmt: skip
    strength = gr.Slider(
        0, 2, value=1, step=0.05, label="Strength", elem_id="strength",
        info="0 is the original, 1 the whole edit. Turned without solving again.",
    )  # fmt: skip
    effect = gr.Markdown(PREDICTED, elem_id="effect")
    return Look(prompt, seed, steps, slider, blank, strength, told), (predict, solve, paint, cancel), _history(), effect


def _history() -> Past:
    with gr.Group():
        with gr.Row():
            undo = gr.Button("↶ Undo", size="sm", interactive=False, elem_id="undo")
            redo = gr.Button("↷ Redo", size="sm", interactive=False, elem_id="redo")
        history = gr.Radio(
            ["0 · original"], value="0 · original", label="History", elem_id="history", type="index",
            info="Every solve is kept. Choose one to go back to it.",
        )  # fmt: skip
        with gr.Row(equal_height=True):
            concept = gr.Dropdown([], label="Take one concept out", scale=3, interactive=True, elem_id="revoke-concept")
            revoke = gr.Button("Revoke it", size="sm", scale=1, min_width=90, elem_id="revoke", interactive=False)
    return Past(undo, redo, history, concept, revoke)


# What the fields say


def recipe_from(visit: Visit, values: tuple[Any, ...]) -> Recipe:
    """The recipe of the fields' values: rows, kept prompts, then the settings in order.

    Raises:
        ValueError: as `recipe_of`.
    """
    rows, keep, *given = values
    settings = dict(zip((*CHOICES, *NUMBERS, "layers"), given, strict=True))
    settings["layers"] = tuple(part.strip() for part in (settings["layers"] or "").split(";") if part.strip())
    settings |= {name: getattr(Recipe(), name) for name in NUMBERS if settings[name] is None}
    return handlers.asked(visit, rows, keep, settings)


def values_of(recipe: Recipe) -> list[Any]:
    """The fields' values of a recipe, in the same order."""
    named = [getattr(recipe, name) for name in (*CHOICES, *NUMBERS)]
    return [rows_of(recipe), "\n".join(recipe.preserve), *named, "; ".join(recipe.layers)]


def preview(visit: Visit, values: tuple[Any, ...]) -> tuple[str, str]:
    """The recipe as YAML and a note: what is wrong with the fields, if anything is."""
    try:
        return recipe_from(visit, values).to_yaml(), ""
    except Exception as error:
        return f"# not a recipe yet\n# {say(error)}\n", trouble(error)


def _wire_fields(tab: Tab, buttons: list[Any], model: gr.Dropdown, adding: tuple[Any, ...], listing: Any) -> None:
    fields, look, visit = tab.fields, tab.look, tab.visit

    def show(visit: Visit, *values: Any) -> tuple[str, str]:
        """The table, the kept prompts and the settings as a recipe in YAML."""
        return preview(visit, values)

    for field in fields.all():
        field.change(show, [visit, *fields.all()], [tab.yaml, tab.aside], api_visibility="private", **LIGHT)
    gr.on(None, show, [visit, *fields.all()], [tab.yaml, tab.aside], api_name="recipe", **LIGHT)

    for button, example in buttons:
        button.click(
            partial(_example, example), visit, [*fields.all(), look.prompt, look.seed, model, tab.aside],
            api_visibility="private", **LIGHT,
        )  # fmt: skip
    _wire_adding(tab, adding)
    _wire_lists(tab, listing)

    def choose(visit: Visit, name: str) -> str:
        """Edit another model: "demo", a file of the server's folder by name, or a hub id."""
        visit.model = (name or EMBEDDED).strip()
        return says(f"The next solve opens {visit.model}.")

    model.change(choose, [visit, model], tab.aside, api_name="model", **LIGHT)


def _example(example: Example, visit: Visit) -> list[Any]:
    visit.base, visit.model = example.recipe, EMBEDDED
    told = says(f"{example.label}: press Solve and paint to see it.")
    return [*values_of(example.recipe), example.prompt, example.seed, EMBEDDED, told]


def _wire_adding(tab: Tab, adding: tuple[Any, ...]) -> None:
    change, concept, instead, add = adding
    rows, visit = tab.fields.rows, tab.visit

    def append(visit: Visit, rows: list[list[Any]], change: str, concept: str, instead: str) -> tuple[Any, ...]:
        """Add one row to the table."""
        if not (concept or "").strip():
            return gr.skip(), gr.skip(), gr.skip(), trouble("Write a word or a short phrase under Concept first.")
        known, wordings = suggested(change, concept) if visit.model == EMBEDDED else ("", "")
        row = [change, concept.strip(), (instead or "").strip() or known, "1", wordings]
        return [*filled(rows), row], "", "", ""

    gr.on(
        [add.click, concept.submit, instead.submit], append, [visit, rows, change, concept, instead],
        [rows, concept, instead, tab.aside], api_name="add", **LIGHT,
    )  # fmt: skip


def filled(rows: list[list[Any]]) -> list[list[Any]]:
    """The rows that say something."""
    return [row for row in rows if any(str(cell or "").strip() for cell in row[1:])]


def _wire_lists(tab: Tab, listing: Any) -> None:
    pasted, dropped, read, everything = listing
    fields, visit = tab.fields, tab.visit

    def take(visit: Visit, text: str, path: str | None, *values: Any) -> list[Any]:
        """Read pasted text or a dropped file: names and CSV rows join the table, a recipe takes its place."""
        try:
            found = read_list(visit, text or "", path)
        except Exception as error:
            return [*[gr.skip()] * len(values), gr.skip(), trouble(error)]
        told = says(f"Read {len(found.edits)} concept{'s' * (len(found.edits) != 1)}.")
        is_recipe = found != Recipe(edits=found.edits)
        if is_recipe or not filled(values[0]):
            visit.base = found
            return [*values_of(found), None, told]
        return [[*filled(values[0]), *rows_of(found)], *[gr.skip()] * (len(values) - 1), None, told]

    read.click(
        take, [visit, pasted, dropped, *fields.all()], [*fields.all(), dropped, tab.aside], api_name="list", **LIGHT
    )

    def rest(rows: list[list[Any]]) -> str:
        """Everything the embedded model knows but the concepts of the table, one a line."""
        return everything_else(tuple(str(row[1] or "") for row in rows))

    everything.click(rest, fields.rows, fields.keep, api_name="everything_else", **LIGHT)


# Work


def _wire_work(tab: Tab, run: tuple[gr.Button, ...]) -> None:
    predict, solve, paint, cancel = run
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

    def on_paint(visit: Visit, prompt: str, seed: float, steps: float) -> Iterator[dict[Any, Any]]:
        """Paint the prompt before and after, under the version of the history that holds."""
        yield from follow(tab, visit, lambda: handlers.look(workshop, visit, shot_of(prompt, seed, steps)))

    def on_strength(visit: Visit, strength: float, prompt: str, seed: float, steps: float) -> Iterator[dict[Any, Any]]:
        """Paint under the edit at another strength, without solving again."""
        yield from follow(tab, visit, lambda: handlers.turn(workshop, visit, strength, shot_of(prompt, seed, steps)))

    def on_cancel(visit: Visit) -> str:
        """Stop the running job within one step."""
        busy = visit.busy
        visit.cancel()
        return says("Stopping at the next step…" if busy else "Nothing runs.")

    shown = tab.shown()
    predict.click(on_predict, [visit, *tab.fields.all()], shown, api_name="predict", **LANE)
    solve.click(on_solve, inputs, shown, api_name="solve", **LANE)
    gr.on([paint.click, look.prompt.submit], on_paint, [visit, *look.shot()], shown, api_name="paint", **LANE)
    look.strength.input(
        on_strength,
        [visit, look.strength, *look.shot()],
        shown,
        api_name="strength",
        trigger_mode="always_last",
        **LANE,
    )
    cancel.click(on_cancel, visit, look.note, api_name="cancel", **LIGHT)


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
    return f"{handlers.VERDICTS[seen.diagnosis.verdict]}\n\n{table(['', 'figure', 'worst at', 'verdict'], rows)}"


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
