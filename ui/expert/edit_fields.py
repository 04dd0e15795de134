"""The left side of the Edit tab: the table, what is kept, the settings, and the recipe they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from concept_edit.recipe import Recipe
from ui.workshop import edit as handlers
from ui.workshop.balancing import MOST_CHECKED, MOST_PICTURES, MOST_ROUNDS, Drawn
from ui.workshop.examples import Example, examples
from ui.workshop.lists import KINDS
from ui.workshop.parts import note, trouble
from ui.workshop.session import Visit, say
from ui.workshop.table import CHANGES, HEAD, rows_of

METHOD: Literal["guarded"] = "guarded"
"""What the page solves with unless told otherwise."""
CHOICES = ("method", "tokens")
"""Settings of a recipe that are one of a list; the lists are the recipe's own."""
NUMBERS = {
    "ridge": "How strongly every matrix is held to its old value.",
    "erase_scale": "Weight of all edits.",
    "preserve_scale": "Weight of each kept prompt; empty for the default.",
}


@dataclass(frozen=True)
class Fields:
    """What a recipe is read from."""

    rows: gr.Dataframe
    keep: gr.Textbox
    settings: tuple[gr.components.Component, ...]

    def all(self) -> list[Any]:
        """Every field, in the order `recipe_from` takes their values."""
        return [self.rows, self.keep, *self.settings]


@dataclass(frozen=True)
class Adding:
    """The line above the table."""

    change: gr.Dropdown
    concept: gr.Textbox
    instead: gr.Textbox
    add: gr.Button


@dataclass(frozen=True)
class Listing:
    """Where lists are pasted or dropped."""

    pasted: gr.Textbox
    dropped: gr.File
    read: gr.Button


@dataclass(frozen=True)
class Sheet:
    """The whole left side."""

    fields: Fields
    buttons: tuple[tuple[gr.Button, Example], ...]
    adding: Adding
    listing: Listing
    everything: gr.Button
    drawn: tuple[gr.components.Component, ...]
    measure: gr.Button
    again: gr.Button
    """Brings back what this browser solved last."""
    model: gr.Dropdown
    """The chooser on top of the page; an example sets it to the embedded model."""
    yaml: gr.Code
    wrong: gr.HTML
    """Beside the table: what is wrong with the fields as they are."""
    note: gr.HTML
    """Beside the table: what an example, a list or a choice did."""


def lay_out(model: gr.Dropdown) -> Sheet:
    """Create the components inside the current column."""
    gr.Markdown("### 1 · What should change?")
    gr.Markdown("Start from an example, then change it:", elem_classes=["hint"])
    with gr.Row(elem_classes=["chips"]):
        buttons = tuple(
            (gr.Button(each.label, size="sm", elem_id=f"example-{i}"), each) for i, each in enumerate(examples())
        )
        again = gr.Button("My last recipe", size="sm", elem_id="again", elem_classes=["calm"])
    with gr.Row(elem_classes=["bottom"]):
        change = gr.Dropdown(list(CHANGES), value="erase", label="Change", min_width=110, scale=2, elem_id="change")
        concept = gr.Textbox(label="Concept", placeholder="Twemoji", min_width=130, scale=3, elem_id="concept")
        instead = gr.Textbox(label="Paint instead", placeholder="nothing special", min_width=130, scale=3)
        add = gr.Button("Add", min_width=70, scale=1, elem_id="add")
    rows, keep, everything, wrong, told = _table()
    with gr.Accordion("Paste or drop a list", open=False):
        pasted = gr.Textbox(label="Names, one a line; or a CSV; or a recipe", lines=4, elem_id="pasted")
        dropped = gr.File(label="Or a file (.csv, .txt, .yaml)", file_types=list(KINDS), height=110, elem_id="dropped")
        read = gr.Button("Read the list", size="sm", elem_id="read-list")
    with gr.Accordion("Balance, measured in pictures", open=False):
        drawn, measure = _balancing()
    with gr.Accordion("Settings of the solver", open=False):
        settings = _settings()
    with gr.Accordion("The recipe as YAML", open=False):
        yaml = gr.Code(value=Recipe().to_yaml(), language="yaml", label="Recipe", interactive=False, elem_id="yaml")
    fields, adding = Fields(rows, keep, settings), Adding(change, concept, instead, add)
    return Sheet(
        fields,
        buttons,
        adding,
        Listing(pasted, dropped, read),
        everything,
        drawn,
        measure,
        again,
        model,
        yaml,
        wrong,
        told,
    )


def _table() -> tuple[gr.Dataframe, gr.Textbox, gr.Button, gr.HTML, gr.HTML]:
    rows = gr.Dataframe(
        headers=list(HEAD), datatype="str", type="array", column_count=len(HEAD), interactive=True, value=[],
        label="Concepts (double-click a cell to change it)", max_height=280, elem_id="concepts", buttons=[],
        column_widths=["16%", "22%", "26%", "13%", "23%"],
    )  # fmt: skip
    wrong, told = note(elem_id="wrong"), note(elem_id="aside")
    keep = gr.Textbox(
        label="Keep as it is", lines=3, max_lines=6, elem_id="keep", info="Prompts that must stay, one a line.",
        placeholder="the neighbours of what you erase, such as other artists",
    )  # fmt: skip
    everything = gr.Button("Keep everything else the embedded model knows", size="sm", elem_id="everything")
    return rows, keep, everything, wrong, told


def _balancing() -> tuple[tuple[gr.components.Component, ...], gr.Button]:
    gr.Markdown(
        "For rows that say *balance*: pictures are painted and counted, and the goals moved until the shares are as "
        "wanted. It takes minutes; cancelled, it goes on where it was.",
        elem_classes=["hint"],
    )
    plain = Drawn()
    fields = (
        gr.Slider(4, MOST_PICTURES, plain.pictures, step=4, label="Pictures of each concept in a round"),
        gr.Slider(1, MOST_ROUNDS, plain.rounds, step=1, label="Rounds at most"),
        gr.Slider(
            0, MOST_CHECKED, 24, step=4, label="Pictures of the check",
            info="Before and after, at seeds the search never saw, with prompts of the search and with others.",
        ),
    )  # fmt: skip
    return fields, gr.Button("Measure and balance", elem_id="balance")


def _settings() -> tuple[gr.components.Component, ...]:
    """One field for each setting; the choices are those the recipe allows."""
    schema, plain = Recipe.model_json_schema()["properties"], Recipe(method=METHOD)
    made: list[gr.components.Component] = []
    for name in CHOICES:
        allowed = schema[name].get("enum") or [schema[name]["const"]]
        info = schema[name].get("description", "").replace("`", "")
        made.append(gr.Dropdown(allowed, value=getattr(plain, name), label=_label(name), info=info))
    for name, info in NUMBERS.items():
        if getattr(plain, name) is None:
            made.append(gr.Textbox("", label=_label(name), info=info, placeholder="default"))
            continue
        made.append(gr.Number(getattr(plain, name), label=_label(name), info=info, step=0.1))
    about = "Which matrices change: roles (k; v; pooled) or patterns such as up_blocks.*, by ';'. All if empty."
    made.append(gr.Textbox("", label="Layers", info=about))
    return tuple(made)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


# What the fields say


def recipe_from(visit: Visit, values: tuple[Any, ...]) -> Recipe:
    """The recipe of the fields' values: rows, kept prompts, then the settings in order.

    Raises:
        ValueError: as `recipe_of`.
    """
    rows, keep, *given = values
    settings = dict(zip((*CHOICES, *NUMBERS, "layers"), given, strict=True))
    settings["layers"] = tuple(part.strip() for part in (settings["layers"] or "").split(";") if part.strip())
    settings |= {name: number_of(settings[name], name) for name in NUMBERS}
    return handlers.asked(visit, rows, keep, settings)


def number_of(given: Any, name: str) -> float | None:
    """A setting's number; the recipe's default where the field is empty.

    Raises:
        ValueError: something that is no number.
    """
    if given is None or not str(given).strip():
        return getattr(Recipe(), name)
    try:
        return float(given)
    except ValueError as error:
        raise ValueError(
            f"'{given}' is no {_label(name).lower()}; give a number, or nothing for the default"
        ) from error


def values_of(recipe: Recipe) -> list[Any]:
    """The fields' values of a recipe, in the same order."""
    named = [getattr(recipe, name) for name in (*CHOICES, *NUMBERS)]
    named = ["" if value is None else value for value in named]
    return [rows_of(recipe), "\n".join(recipe.preserve), *named, "; ".join(recipe.layers)]


def preview(visit: Visit, values: tuple[Any, ...]) -> tuple[str, str]:
    """The recipe as YAML and a note: what is wrong with the fields, if anything is."""
    try:
        return recipe_from(visit, values).to_yaml(), ""
    except Exception as error:
        return f"# not a recipe yet\n# {say(error)}\n", trouble(error)
