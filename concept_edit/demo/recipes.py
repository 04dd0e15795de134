"""Recipes that suit the embedded model: published settings (UCE 2025, `tokens="last"`), wordings, and the rest kept.

Its 256-wide text encoder names a style by its last token in a phrase, so a style is erased in several phrases, and the
other styles are kept in the same ones. Without the kept rows a single erased style takes a third of the concepts along.
"""

from __future__ import annotations

from ..recipe import Erase, Recipe
from .concepts import CONCEPTS, HOUSE_STYLE, STYLES

PHRASES = ("in the style of {}", "a picture by {}")
CONTEXTS = ("art by {}", "a tree in the style of {}", "a rocket in the style of {}", "a doctor in the style of {}")
"""Further phrases for an erased style: before a causal tower reaches the name it has read what is drawn."""


def kept(*erased: str) -> tuple[str, ...]:
    """Every concept and style but the erased ones, styles also in their phrases."""
    styles = [s.name for s in STYLES if s.name not in erased]
    phrases = [phrase.format(style) for style in styles for phrase in PHRASES]
    return (*(c.name for c in CONCEPTS if c.name not in erased), *styles, *phrases)


def style_edit(style: str, guide: str = f"in the style of {HOUSE_STYLE}") -> Erase:
    """Draw in the guide's style wherever this one is asked for."""
    return Erase(style, guide=guide, wordings=(*PHRASES, *CONTEXTS))


def erase_style(style: str) -> Recipe:
    """Erase one style towards the house style, which is what a prompt without a style shows."""
    return Recipe(edits=(style_edit(style),), preserve=kept(style), erase_scale=4.0)


def object_edit(concept: str) -> Erase:
    """A drawing of nothing in particular wherever this is asked for."""
    return Erase(
        concept, guide="a drawing", wordings=("a {}", "a drawing of a {}", "an emoji of a {}", "a picture of a {}")
    )


def erase_object(concept: str) -> Recipe:
    """Erase one concept, in the wordings that name it."""
    return Recipe(edits=(object_edit(concept),), preserve=kept(concept), erase_scale=4.0)
