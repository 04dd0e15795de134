"""Recipes that suit the embedded model: method `guarded`, the concept's wordings, and the rest kept.

A style is erased in the phrases that name it; the others are kept in the same ones and in pictures of every concept:
in a causal encoder what is drawn and in whose style share the rows after the words. All that the model knows is named
so, and common names are not held besides: they would hold wordings of what goes.
"""

from __future__ import annotations

from concept_edit.demo.concepts import CONCEPTS, HOUSE_STYLE, STYLES
from concept_edit.recipe import Erase, Recipe

PHRASES = ("in the style of {}", "a picture by {}")
SCENE = "a {} in the style of {}"


def kept(*erased: str) -> tuple[str, ...]:
    """Every concept and style but the erased ones, styles also in their phrases."""
    styles = [s.name for s in STYLES if s.name not in erased]
    phrases = [phrase.format(style) for style in styles for phrase in PHRASES]
    return (*(c.name for c in CONCEPTS if c.name not in erased), *styles, *phrases)


def scenes(*erased: str) -> tuple[str, ...]:
    """Every concept but the erased ones in one style that is not erased, the styles in turn."""
    styles = [s.name for s in STYLES if s.name not in erased]
    names = [c.name for c in CONCEPTS if c.name not in erased]
    return tuple(SCENE.format(name, styles[i % len(styles)]) for i, name in enumerate(names))


def style_edit(style: str, guide: str = HOUSE_STYLE) -> Erase:
    """Draw in the guide's style wherever this one is asked for."""
    return Erase(style, guide=guide, wordings=PHRASES)


def erase_style(style: str) -> Recipe:
    """Erase one style towards the house style, which is what a prompt without a style shows."""
    stays = (*kept(style), *scenes(style))
    return Recipe(edits=(style_edit(style),), preserve=stays, method="guarded", keep_common=False)


def object_edit(concept: str) -> Erase:
    """What the rest has in common wherever this is asked for."""
    return Erase(concept, wordings=("a {}", "a drawing of a {}", "an emoji of a {}", "a picture of a {}"))


def erase_object(concept: str) -> Recipe:
    """Erase one concept, in the wordings that name it."""
    return Recipe(edits=(object_edit(concept),), preserve=kept(concept), method="guarded", keep_common=False)
