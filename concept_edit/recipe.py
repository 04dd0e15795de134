"""What is asked: which concepts to erase, moderate, balance or steer, what to keep, and the settings of the solve.

A recipe is plain data. It is checked when it is made, reads and writes YAML, and travels inside every edit file.
Nothing here needs torch.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from concept_edit.asked.items import Aims, AnyEdit, Debias, Erase, Moderate, Steer
from concept_edit.asked.lists import pair_up, read_concepts
from concept_edit.asked.wordings import (
    AUTO,
    NEUTRAL,
    NEUTRALLY,
    UNTOLD,
    UNTOLD_THING,
    WORDINGS,
    is_manner,
    normal,
    refuse_repeats,
    told_in_manner,
)
from concept_edit.asked.written import explain, line_of, parsed
from concept_edit.files import replace_file
from concept_edit.notes import CutWarning, MethodWarning
from concept_edit.prompts.names import THINGS
from concept_edit.reading.plain import read_text
from concept_edit.reading.yaml_text import MOST_CHARACTERS

__all__ = [
    "AUTO",
    "NEUTRAL",
    "NEUTRALLY",
    "WORDINGS",
    "Aims",
    "CutWarning",
    "Debias",
    "Erase",
    "MethodWarning",
    "Moderate",
    "Recipe",
    "Steer",
    "explain",
    "normal",
    "pair_up",
    "read_concepts",
]


Method = Literal["uce", "guarded", "gated"]
Tokens = Literal["last", "aligned", "subject"]


MOST_WORDED, MOST_TOGETHER = 100, 24
"""Concepts up to which wordings that nobody named are taken: by a gate, which holds every row, and by a guarded solve,
whose one matrix has room for about as many rows as it is wide."""
MOST_WORDS = 6
"""Words of a concept that a guarded solve tells in wordings nobody named; what is longer is a wording itself."""
MOST_TOLD = 48
"""Things that styles are told in, over all of them: kept ones, and common ones where these are fewer."""


def _rule_of(method: Any) -> Tokens:
    """The token rule where none is named: what is held still, or opens a gate, is all that speaks for a concept."""
    return "last" if method == "uce" else "subject"


class Recipe(BaseModel):
    """Everything a solve needs to know besides the model. Frozen; checked on construction.

    The method is `guarded` unless another is named, or a token rule of the UCE code is. Under `method="uce"` the other
    defaults are the published settings of its 2025 version; `tokens="aligned"` turns to those of the 2023 code and the
    paper: the empty prompt is kept with all its rows, and the kept weight is max(0.1, 1 / kept prompts).

    Raises:
        ValueError (pydantic's ValidationError): an unknown key, an empty or repeated concept, a concept both changed
            and preserved, a number out of range. The message names the item.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    edits: tuple[AnyEdit, ...] = ()
    """What to change, in order."""
    preserve: tuple[str, ...] = ()
    """Prompts whose meaning must stay; '' is the empty prompt."""
    ridge: float = Field(default=0.5, ge=0)
    """λ of the paper's code: how strongly each matrix is held to its old value. Above 0 but for very large recipes."""
    erase_scale: float = Field(default=1.0, gt=0)
    """Weight of all edits."""
    preserve_scale: float | None = Field(default=None, ge=0)
    """Weight of each kept row. None: 1, and max(0.1, 1 / kept prompts) under `tokens="aligned"`."""
    keep_null: bool | None = None
    """Whether the empty prompt is kept. None: only under `tokens="aligned"`."""
    tokens: Tokens = "subject"
    """Which rows speak for a prompt: its last token; that token and all after it; all its tokens, EOS and some pads.
    `subject` unless named, and `last` under method `uce`."""
    method: Method = "guarded"
    """How to solve: `uce` is Unified Concept Editing (Gandikota et al., WACV 2024); `guarded` the same closed form
    with weights moved until the bounds below hold; `gated` moves rows of the text embedding while a model is served.
    `guarded` unless named, and `uce` where `tokens` is: that is its own language."""
    erased_to: float = Field(default=0.22, gt=0, lt=1)
    """Guarded: of a concept's way to its goal, the share that may be left. Where there is room, less is."""
    kept_within: float = Field(default=0.3, gt=0)
    """Guarded: how far a kept row may move, of its distance from the mean caption token."""
    corpus_within: float = Field(default=0.35, gt=0)
    """Guarded: how far caption tokens may move, root mean square, of their distance from the mean."""
    keep_common: bool | None = None
    """Guarded: whether some nine hundred common names (`prompts/names.py`) are held beside what is preserved, but for
    those that share a word with what goes. None: where all text encoders are CLIP's, which read them in a moment, and
    something is erased, nothing balanced or steered: those, and moderation by itself, should carry over to what is like
    it, as "weapon" to "rifle"."""
    rounds: int = Field(default=4, ge=0, le=50)
    """Guarded: solves after the first."""
    false_alarm: float = Field(default=0.05, gt=0, lt=1)
    """Gated: the share of kept rows that may come within reach of the gate."""
    caption_alarm: float = Field(default=0.001, ge=0, lt=1)
    """Gated: the share of caption tokens that may come within reach of the gate. 0.01 leaves less of a concept in other
    words."""
    layers: tuple[str, ...] = ()
    """Which matrices to change: roles (`k`, `v`, `context`, `pooled`) or name patterns (`up_blocks.*`). None: all."""

    @model_validator(mode="before")
    @classmethod
    def _method_and_rule(cls, given: Any) -> Any:
        """A token rule without a method is UCE's; a method without a rule has its own."""
        if not isinstance(given, Mapping):
            return given
        method = given.get("method", "uce" if "tokens" in given else "guarded")
        return {"method": method, "tokens": _rule_of(method), **given}

    @field_validator("layers", mode="before")
    @classmethod
    def _one_layer(cls, layers: Any) -> Any:
        return (layers,) if isinstance(layers, str) else layers

    @field_validator("preserve")
    @classmethod
    def _check_preserve(cls, preserve: tuple[str, ...]) -> tuple[str, ...]:
        refuse_repeats(preserve, "preserve")
        return tuple(prompt.strip() for prompt in preserve)

    @model_validator(mode="after")
    def _check_concepts(self) -> Recipe:
        refuse_repeats(self.concepts, "edits")
        kept = {normal(prompt) for prompt in self.preserve}
        both = [concept for concept in self.concepts if normal(concept) in kept]
        if both:
            raise ValueError(f"{both[0]!r} is both changed and preserved; take it out of one of the two lists")
        return self

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts to change, in order."""
        return tuple(edit.concept for edit in self.edits)

    def guide_of(self, edit: Erase | Moderate) -> str:
        """The guide an edit is solved with: its own, or where an `Erase` names none and the method chooses, 'neutral'
        for what is `in_manner` and 'auto' for the rest."""
        if self.method == "uce" or not isinstance(edit, Erase) or edit.guide:
            return edit.guide
        return NEUTRALLY if self.in_manner(edit) else AUTO

    def in_manner(self, edit: AnyEdit) -> bool:
        """Whether an edit is of a style or an artist: an `Erase` in the set "style" that does not name "object" too, or
        one whose concept is called like one and that names both or no wordings. It is told in kept and in common things
        and led to nobody's style, where the centroid of kept prompts would be a little of each."""
        if self.method == "uce" or not isinstance(edit, Erase):
            return False
        if "style" in edit.wordings and "object" not in edit.wordings:
            return True
        return is_manner(edit.concept) and (not edit.wordings or "style" in edit.wordings)

    def wordings_of(self, edit: AnyEdit, quickly: bool) -> tuple[str, ...]:
        """The wordings an edit is solved with: its own, or sets where it names none. An `Erase` or a `Moderate` under
        method `gated`, which knows what is asked by rows it has met, takes those of `UNTOLD`; an `Erase` under
        `guarded` those of `UNTOLD_THING`, or of `UNTOLD` where it is `in_manner`, of a model that reads them `quickly`.
        What is in a manner is told in kept and in common things, too. `("{}",)`: the concept alone."""
        own = edit.wordings or self._untold(edit, quickly)
        if not (quickly and own and self.in_manner(edit)):
            return own
        manners = sum(map(self.in_manner, self.edits))
        return (*own, *told_in_manner(self.preserve, MOST_TOLD // manners, THINGS))

    def taken_for(self, quickly: bool) -> dict[str, list[str]]:
        """What spelling decided: the concepts told as a "style" and those told as a "thing", where an `Erase` names no
        wordings and gets those of its kind."""
        found: dict[str, list[str]] = {}
        for edit in self.edits:
            if isinstance(edit, Erase) and not edit.wordings and self._untold(edit, quickly):
                found.setdefault("style" if self.in_manner(edit) else "thing", []).append(edit.concept)
        return found

    def _untold(self, edit: AnyEdit, quickly: bool) -> tuple[str, ...]:
        if self.method == "gated" and isinstance(edit, Erase | Moderate):
            return UNTOLD if len(self.edits) <= MOST_WORDED else ()
        few = len(self.edits) <= MOST_TOGETHER and len(edit.concept.split()) <= MOST_WORDS
        if self.method == "guarded" and isinstance(edit, Erase) and quickly and few:
            return UNTOLD if is_manner(edit.concept) else UNTOLD_THING
        return ()

    @property
    def kept(self) -> tuple[str, ...]:
        """The prompts to keep, with the empty prompt first where it is kept by default."""
        null = self.tokens == "aligned" if self.keep_null is None else self.keep_null
        return ("", *self.preserve) if null and "" not in self.preserve else self.preserve

    def keeps_common(self, quickly: bool) -> bool:
        """Whether common names are held beside what is preserved, by a model that reads them `quickly` or not."""
        if self.method != "guarded" or self.keep_common is False:
            return False
        erased = any(isinstance(edit, Erase) for edit in self.edits) and not any(edit.stays for edit in self.edits)
        return bool(self.keep_common) or (quickly and erased)

    @property
    def kept_scale(self) -> float:
        """The weight of a kept row: `preserve_scale`, or the published default of the token rule."""
        if self.preserve_scale is not None:
            return self.preserve_scale
        return max(0.1, 1 / max(1, len(self.kept))) if self.tokens == "aligned" else 1.0

    def edits_layer(self, name: str, role: str) -> bool:
        """Whether the matrix called `name`, in the role `role`, is to be changed."""
        return not self.layers or any(layer == role or fnmatchcase(name, layer) for layer in self.layers)

    def aimed(self, aims: Mapping[str, Aims]) -> Recipe:
        """The same recipe with these aims: concept to balance -> attribute -> α, or -> wording -> attribute -> α."""
        edits = tuple(
            replace(edit, aims=dict[str, Any](aims[edit.concept]))
            if isinstance(edit, Debias) and edit.concept in aims
            else edit
            for edit in self.edits
        )
        return self.model_copy(update={"edits": edits})

    def without(self, *concepts: str) -> Recipe:
        """The same recipe with these concepts no longer changed.

        Raises:
            ValueError: a concept that the recipe does not change.
        """
        gone = {normal(concept) for concept in concepts}
        unknown = [concept for concept in concepts if normal(concept) not in map(normal, self.concepts)]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not in the recipe; it changes {', '.join(self.concepts) or 'nothing'}")
        edits = tuple(edit for edit in self.edits if normal(edit.concept) not in gone)
        return self.model_copy(update={"edits": edits})

    def __add__(self, other: Recipe) -> Recipe:
        """Both recipes as one, concepts and kept prompts sorted, so that the order of adding does not matter.

        Raises:
            ValueError: settings that differ, or a concept that both change or one changes and the other keeps.
        """
        if not isinstance(other, Recipe):
            return NotImplemented
        for name in sorted(set(type(self).model_fields) - {"edits", "preserve"}):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"the recipes differ in {name} ({mine} and {theirs}); joined recipes share settings")
        edits = {(normal(edit.concept), repr(edit)): edit for edit in (*self.edits, *other.edits)}
        kept = sorted({normal(prompt): prompt for prompt in (*other.preserve, *self.preserve)}.items())
        fields = self.model_dump(exclude={"edits", "preserve"})
        return Recipe(
            edits=tuple(edit for _, edit in sorted(edits.items())),
            preserve=tuple(prompt for _, prompt in kept),
            **fields,
        )

    def compact(self) -> str:
        """The recipe as one line of JSON with every setting spelt out, so that later defaults do not change it."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), ensure_ascii=False, separators=(",", ":"))

    def to_yaml(self) -> str:
        """The recipe as YAML, settings at their defaults left out; the method is always named."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"method", "tokens"})
        plain["method"] = self.method
        if self.tokens != _rule_of(self.method):
            plain["tokens"] = self.tokens
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as YAML; the old file stays until the new one is whole."""
        replace_file(path, self.to_yaml().encode())

    @classmethod
    def stored(cls, plain: Mapping[str, Any]) -> Recipe:
        """The recipe in a file's header. One that names no method was written when `uce` was the only one.

        Raises:
            ValueError (pydantic's ValidationError): not a recipe.
        """
        return cls.model_validate({"method": "uce", **plain})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe from a YAML (or JSON) file.

        Raises:
            ValueError: too large, not UTF-8, not YAML, or not a recipe; the message names file and line.
            OSError: the file cannot be read.
        """
        return cls.from_yaml(read_text(path, most=MOST_CHARACTERS), name=str(path))

    @classmethod
    def from_yaml(cls, text: str, *, name: str = "recipe") -> Recipe:
        """Read a recipe from YAML text; `name` is how messages call it.

        A recipe that names no method is read as `uce`, with a note: that is what it meant when it was written, before
        `guarded` became the default.

        Raises:
            ValueError: not YAML, or not a recipe; the message names the line.
        """
        data, tree = parsed(text, name)
        try:
            recipe = cls.stored(data)
        except ValidationError as error:
            line = line_of(tree, error.errors()[0]["loc"])
            raise ValueError(f"{name}, line {line}: {explain(error)}") from error
        if recipe.edits and "method" not in data:
            warnings.warn(MethodWarning(name), stacklevel=2)
        return recipe
