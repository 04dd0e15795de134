"""What taking a style out means for a model: the recipe."""

from __future__ import annotations

from collections.abc import Sequence

from concept_edit.demo.concepts import CONCEPTS, HOUSE_STYLE, STYLES
from concept_edit.demo.recipes import PHRASES, object_edit
from concept_edit.models.contract import Model
from concept_edit.recipe import Erase, Recipe, normal
from ui.bench.keep import neighbours

_STYLES = {normal(style.name): style.name for style in STYLES}
_THINGS = {normal(concept.name): concept.name for concept in CONCEPTS}


def recipe_of(model: Model, words: Sequence[str], instead: str, keep: Sequence[str]) -> Recipe:
    """Erase each word towards `instead`. '' is what a prompt without a style shows in the embedded model, and a neutral
    word in others. Without `keep` the neighbours are kept: all the embedded model knows, everyday things elsewhere."""
    edits = tuple(_erase(model, word, instead) for word in words)
    # All that the embedded model knows is named then: common names would hold wordings of the style and nothing more.
    whole = model.name.startswith("demo") and not keep
    kept = tuple(keep) or neighbours(model.name, words)
    return Recipe(edits=edits, preserve=kept, method="guarded", keep_common=False if whole else None)


def _erase(model: Model, word: str, instead: str) -> Erase:
    if model.name.startswith("demo"):
        if normal(word) in _STYLES:
            return Erase(_STYLES[normal(word)], guide=instead or HOUSE_STYLE, wordings=PHRASES)
        if normal(word) in _THINGS:
            return Erase(_THINGS[normal(word)], guide=instead, wordings=object_edit(word).wordings)
    return Erase(word, guide=instead, wordings=("style",))
