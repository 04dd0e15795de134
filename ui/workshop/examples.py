"""Recipes that work on the embedded model with one click, each with a prompt that shows it."""

from __future__ import annotations

from dataclasses import dataclass

from concept_edit.demo.concepts import CONCEPTS, HOUSE_STYLE, MODERATED, STYLES
from concept_edit.demo.recipes import PHRASES, erase_object, erase_style, kept, object_edit, scenes, style_edit
from concept_edit.recipe import Debias, Moderate, Recipe, normal


@dataclass(frozen=True)
class Example:
    """One button."""

    label: str
    recipe: Recipe
    prompt: str
    seed: int = 1


def examples() -> tuple[Example, ...]:
    """The buttons of the Edit tab, simplest first."""
    style, thing = "Twemoji", "cat"
    stays = (*kept(style, thing), *scenes(style, thing))
    both = Recipe(edits=(style_edit(style), object_edit(thing)), preserve=stays, method="guarded")
    return (
        Example(f"Erase the style {style}", erase_style(style), f"a rocket in the style of {style}"),
        Example(f"Erase the object {thing}", erase_object(thing), f"a {thing} in the style of Lobe"),
        Example("A style and an object", both, f"a guitar in the style of {style}"),
        Example("Moderate six words", _moderated(), "a bomb"),
        Example("Balance a profession", _balanced("farmer"), "a farmer", seed=3),
    )


def _moderated() -> Recipe:
    names = [concept.name for concept in MODERATED]
    edits = tuple(Moderate(name, wordings=object_edit(name).wordings) for name in names)
    return Recipe(edits=edits, preserve=kept(*names), method="guarded")


def _balanced(profession: str) -> Recipe:
    balance = Debias(profession, across={"man": 0.5, "woman": 0.5})
    return Recipe(edits=(balance,), preserve=kept(profession), method="uce")


def suggested(change: str, concept: str) -> tuple[str, str]:
    """(instead, wordings) that suit the embedded model for a word typed by hand; empty for what it does not know."""
    styles = {normal(style.name) for style in STYLES}
    things = {normal(thing.name) for thing in CONCEPTS}
    if normal(concept) in styles and change in ("erase", "moderate"):
        return HOUSE_STYLE if change == "erase" else "", "; ".join(PHRASES)
    if normal(concept) in things and change in ("erase", "moderate"):
        edit = object_edit(concept)
        return edit.guide if change == "erase" else "", "; ".join(edit.wordings)
    return ("man 50 %, woman 50 %", "") if change == "balance" else ("", "")


def everything_else(concepts: tuple[str, ...]) -> str:
    """All the embedded model knows but these concepts, one a line."""
    gone = {normal(concept) for concept in concepts}
    names = [name for name in (*(s.name for s in STYLES), *(c.name for c in CONCEPTS)) if normal(name) in gone]
    return "\n".join(kept(*names))
