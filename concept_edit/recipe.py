"""What is asked: which concepts to erase, moderate or balance, what to keep, and the settings of the solve.

A recipe is plain data. It is checked when it is made, reads and writes YAML, and travels inside every edit file.
Nothing here needs torch.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass

from concept_edit.files import replace_file

WORDINGS: Mapping[str, tuple[str, ...]] = {
    "art": ("painting by {}", "art by {}", "artwork by {}", "picture by {}", "style of {}"),
    "object": ("image of {}", "photo of {}", "portrait of {}", "picture of {}", "painting of {}"),
}
"""Prompt templates of the UCE code for artists and for objects (`--expand_prompts`, `--concept_type`)."""

AUTO = "auto"
"""The guide that is chosen from what the recipe keeps."""
NEUTRAL: tuple[str, ...] = (
    *("a picture", "an image", "a drawing", "a painting", "a sketch", "an illustration", "an artwork", "a print"),
    *("a photograph", "a study", "a scene", "a figure", "a shape", "an object", "a thing", "a place"),
)
"""Generic descriptors whose centroid is the automatic guide where a recipe keeps few prompts."""

_STRICT = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True, allow_inf_nan=False)


class CutWarning(UserWarning):
    """A prompt longer than the tokenizer takes."""


def normal(prompt: str) -> str:
    """The form in which two prompts count as the same: case and spacing do not matter."""
    return " ".join(prompt.split()).casefold()


def _named(concept: str) -> str:
    if not concept.strip():
        raise ValueError("a concept is empty; name a word or a short phrase, such as 'Van Gogh'")
    return concept.strip()


Weight = Annotated[float, Field(gt=0)]
Aims = Mapping[str, float] | Mapping[str, Mapping[str, float]]
"""Attribute -> α, or wording -> attribute -> α."""


@dataclass(frozen=True, config=_STRICT)
class Erase:
    """Paint `guide` wherever `concept` is asked for."""

    concept: Annotated[str, Field(validation_alias="erase", serialization_alias="erase")]
    """The word or phrase to erase."""
    guide: str = ""
    """The prompt whose meaning takes its place. 'auto' is the centroid of what is kept, or of neutral words where
    little is: nobody's style. '' is the empty prompt under method `uce` and 'auto' under the others."""
    weight: Weight = 1.0
    """Weight of this concept beside the others; times `Recipe.erase_scale`."""
    wordings: tuple[str, ...] = ()
    """Further prompts that mean the concept: templates with `{}`, whole phrases, or the sets "art" and "object"."""

    @field_validator("concept")
    @classmethod
    def _check_concept(cls, concept: str) -> str:
        return _named(concept)

    @field_validator("wordings", mode="before")
    @classmethod
    def _one_wording(cls, wordings: Any) -> Any:
        return (wordings,) if isinstance(wordings, str) else wordings

    def templates(self) -> tuple[str, ...]:
        """`{}` and every wording as it was given, sets spelt out, each once, in order."""
        return tuple(dict.fromkeys(["{}", *(t.strip() for name in self.wordings for t in WORDINGS.get(name, (name,)))]))

    def prompts(self) -> tuple[str, ...]:
        """The concept itself and every wording of it, each once, in order."""
        return tuple(dict.fromkeys(template.replace("{}", self.concept).strip() for template in self.templates()))


@dataclass(frozen=True, config=_STRICT)
class Moderate:
    """Erase `concept` towards the empty prompt."""

    concept: Annotated[str, Field(validation_alias="moderate", serialization_alias="moderate")]
    """The word or phrase to suppress."""
    weight: Weight = 1.0
    """Weight of this concept beside the others; times `Recipe.erase_scale`."""
    wordings: tuple[str, ...] = ()
    """Further prompts that mean the concept, as in `Erase`."""

    _check_concept = field_validator("concept")(_named)

    @field_validator("wordings", mode="before")
    @classmethod
    def _one_wording(cls, wordings: Any) -> Any:
        return (wordings,) if isinstance(wordings, str) else wordings

    @property
    def guide(self) -> str:
        """The empty prompt."""
        return ""

    def templates(self) -> tuple[str, ...]:
        """As of `Erase`."""
        return Erase(self.concept, wordings=self.wordings).templates()

    def prompts(self) -> tuple[str, ...]:
        """The concept itself and every wording of it, each once, in order."""
        return Erase(self.concept, wordings=self.wordings).prompts()


@dataclass(frozen=True, config=_STRICT)
class Debias:
    """Paint `concept` with the attributes of `across` in the given ratios."""

    concept: Annotated[str, Field(validation_alias="debias", serialization_alias="debias")]
    """The word to balance, such as a profession."""
    across: dict[str, float]
    """Attribute -> share of images that should show it; at least two, summing to 1."""
    weight: Weight = 1.0
    """Weight of this concept beside the others; times `Recipe.erase_scale`."""
    wordings: tuple[str, ...] = ()
    """Further prompts that mean the concept, as in `Erase`."""
    phrase: str = "{attribute} {concept}"
    """How the concept is asked for with an attribute: it leads the way from the concept to the attribute."""
    aims: dict[str, float | dict[str, float]] | None = None
    """Attribute -> α: the goal is the concept's rows plus Σ α · (rows of the phrase − rows of the concept). Or wording
    -> attribute -> α, for every one of `templates()`; then what a wording says before the concept stays where it is.
    `debias` measures them and writes them here, so that the recipe solves to the same bits again."""

    _check_concept = field_validator("concept")(_named)

    @field_validator("wordings", mode="before")
    @classmethod
    def _one_wording(cls, wordings: Any) -> Any:
        return (wordings,) if isinstance(wordings, str) else wordings

    @field_validator("phrase")
    @classmethod
    def _check_phrase(cls, phrase: str) -> str:
        if "{attribute}" not in phrase or "{concept}" not in phrase:
            raise ValueError(f"the phrase {phrase!r} must hold {{attribute}} and {{concept}}")
        return phrase

    @model_validator(mode="after")
    def _check_aims(self) -> Debias:
        if self.aims is None:
            return self
        worded = {name: aims for name, aims in self.aims.items() if isinstance(aims, dict)}
        if worded and (len(worded) < len(self.aims) or list(self.aims) != list(self.templates())):
            raise ValueError(f"aims name {list(self.aims)}; name the wordings {list(self.templates())}, each with aims")
        for aims in worded.values() if worded else [self.aims]:
            if list(aims) != list(self.across):
                raise ValueError(f"aims name {list(aims)}, across names {list(self.across)}; name the same attributes")
        return self

    @field_validator("across")
    @classmethod
    def _check_across(cls, across: dict[str, float]) -> dict[str, float]:
        if len({normal(name) for name in across if name.strip()}) < max(2, len(across)):
            raise ValueError(f"across names {list(across)}; give at least two different attributes")
        if any(share <= 0 for share in across.values()) or not math.isclose(sum(across.values()), 1, abs_tol=1e-6):
            raise ValueError(f"the shares {list(across.values())} must be above 0 and sum to 1")
        return across

    def prompts(self) -> tuple[str, ...]:
        """The concept itself and every wording of it, each once, in order."""
        return Erase(self.concept, wordings=self.wordings).prompts()

    def templates(self) -> tuple[str, ...]:
        """As of `Erase`."""
        return Erase(self.concept, wordings=self.wordings).templates()

    @property
    def worded(self) -> bool:
        """Whether each wording has aims of its own."""
        return self.aims is not None and any(isinstance(aims, dict) for aims in self.aims.values())

    def aims_of(self, template: str) -> dict[str, float]:
        """Attribute -> α for one of `templates()`; empty before anything was measured."""
        found: Any = (self.aims or {}).get(template) if self.worded else self.aims
        return dict(found or {})

    def phrase_of(self, attribute: str) -> str:
        """The concept with an attribute: 'woman doctor'."""
        return self.phrase.replace("{attribute}", attribute).replace("{concept}", self.concept)

    def towards(self, prompt: str) -> tuple[str, ...]:
        """A prompt of the concept with each attribute in turn: 'a doctor' -> 'a man doctor', 'a woman doctor'."""
        return tuple(prompt.replace(self.concept, self.phrase_of(attribute)) for attribute in self.across)


_KINDS: Mapping[str, type] = {"erase": Erase, "moderate": Moderate, "debias": Debias}


def _kind(edit: Any) -> str | None:
    if isinstance(edit, Mapping):
        return next((kind for kind in _KINDS if kind in edit), None)
    return type(edit).__name__.lower()


AnyEdit = Annotated[
    Annotated[Erase, Tag("erase")] | Annotated[Moderate, Tag("moderate")] | Annotated[Debias, Tag("debias")],
    Discriminator(
        _kind, custom_error_type="edit_kind", custom_error_message="an edit starts with erase, moderate or debias"
    ),
]


class Recipe(BaseModel):
    """Everything a solve needs to know besides the model. Frozen; checked on construction.

    The defaults are the published settings of the 2025 UCE code. `tokens="aligned"` turns to those of the 2023 code and
    the paper: the empty prompt is kept with all its rows, and the kept weight is max(0.1, 1 / kept prompts).

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
    tokens: Literal["last", "aligned", "subject"] = "last"
    """Which rows speak for a prompt: its last token; that token and all after it; all its tokens, EOS and some pads.
    A recipe of another method than `uce` that names no rule has `subject`."""
    method: Literal["uce", "guarded", "gated"] = "uce"
    """How to solve: `uce` is Unified Concept Editing (Gandikota et al., WACV 2024); `guarded` the same closed form
    with weights moved until the bounds below hold; `gated` moves rows of the text embedding while a model is served."""
    erased_to: float = Field(default=0.22, gt=0, lt=1)
    """Guarded: of a concept's way to its goal, the share that may be left."""
    kept_within: float = Field(default=0.3, gt=0)
    """Guarded: how far a kept row may move, of its distance from the mean caption token."""
    corpus_within: float = Field(default=0.35, gt=0)
    """Guarded: how far caption tokens may move, root mean square, of their distance from the mean."""
    rounds: int = Field(default=4, ge=0, le=50)
    """Guarded: solves after the first."""
    false_alarm: float = Field(default=0.05, gt=0, lt=1)
    """Gated: the share of kept rows that may come within reach of the gate."""
    caption_alarm: float = Field(default=0.001, ge=0, lt=1)
    """Gated: the share of caption tokens that may come within reach of what tells wordings nobody gave. 0.01 leaves
    less of a concept in other words."""
    layers: tuple[str, ...] = ()
    """Which matrices to change: roles (`k`, `v`, `context`, `pooled`) or name patterns (`up_blocks.*`). None: all."""

    @model_validator(mode="before")
    @classmethod
    def _own_rule(cls, given: Any) -> Any:
        """Weights are moved, and gates opened, by all that speaks for a concept."""
        if isinstance(given, Mapping) and given.get("method", "uce") != "uce" and "tokens" not in given:
            return {**given, "tokens": "subject"}
        return given

    @field_validator("layers", mode="before")
    @classmethod
    def _one_layer(cls, layers: Any) -> Any:
        return (layers,) if isinstance(layers, str) else layers

    @field_validator("preserve")
    @classmethod
    def _check_preserve(cls, preserve: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_repeats(preserve, "preserve")
        return tuple(prompt.strip() for prompt in preserve)

    @model_validator(mode="after")
    def _check_concepts(self) -> Recipe:
        _refuse_repeats(self.concepts, "edits")
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
        """The guide an edit is solved with: its own, or 'auto' where an `Erase` names none and the method chooses."""
        return AUTO if self.method != "uce" and isinstance(edit, Erase) and not edit.guide else edit.guide

    @property
    def kept(self) -> tuple[str, ...]:
        """The prompts to keep, with the empty prompt first where it is kept by default."""
        null = self.tokens == "aligned" if self.keep_null is None else self.keep_null
        return ("", *self.preserve) if null and "" not in self.preserve else self.preserve

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
        edits = sorted({*map(_Hashed, self.edits), *map(_Hashed, other.edits)}, key=_Hashed.order)
        kept = sorted({normal(prompt): prompt for prompt in (*other.preserve, *self.preserve)}.items())
        fields = self.model_dump(exclude={"edits", "preserve"})
        return Recipe(edits=tuple(e.edit for e in edits), preserve=tuple(prompt for _, prompt in kept), **fields)

    def compact(self) -> str:
        """The recipe as one line of JSON with every setting spelt out, so that later defaults do not change it."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), ensure_ascii=False, separators=(",", ":"))

    def to_yaml(self) -> str:
        """The recipe as YAML, settings at their defaults left out."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as YAML; the old file stays until the new one is whole."""
        replace_file(path, self.to_yaml().encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe from a YAML (or JSON) file.

        Raises:
            ValueError: not YAML, or not a recipe; the message names file and line.
            OSError: the file cannot be read.
        """
        return cls.from_yaml(Path(path).read_text(encoding="utf-8"), name=str(path))

    @classmethod
    def from_yaml(cls, text: str, *, name: str = "recipe") -> Recipe:
        """Read a recipe from YAML text; `name` is how messages call it.

        Raises:
            ValueError: not YAML, or not a recipe; the message names the line.
        """
        try:
            tree, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            raise ValueError(f"{name}{where}: not YAML ({getattr(error, 'problem', None) or error})") from error
        _refuse_repeated_keys(tree, name)
        if data is not None and not isinstance(data, dict):
            raise ValueError(
                f"{name}, line 1: expected keys such as 'edits:' and 'preserve:', got a {type(data).__name__}"
            )
        try:
            return cls.model_validate(data or {})
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{name}, line {_line(tree, first['loc'])}: {explain(error)}") from error


class _Hashed:
    """An edit that can be put in a set: equal when its fields are."""

    def __init__(self, edit: Erase | Moderate | Debias) -> None:
        self.edit = edit

    def order(self) -> tuple[str, str]:
        return normal(self.edit.concept), repr(self.edit)

    def __hash__(self) -> int:
        return hash(self.order())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashed) and self.order() == other.order()


def pair_up(
    concepts: Sequence[str], guides: Sequence[str] = ("",), *, wordings: Sequence[str] = (), weight: float = 1.0
) -> tuple[Erase, ...]:
    """One `Erase` per concept; a single guide serves them all.

    Raises:
        ValueError: neither one guide nor as many as there are concepts.
    """
    if len(guides) not in (1, len(concepts)):
        raise ValueError(f"{len(guides)} guides for {len(concepts)} concepts; give one guide, or one for each concept")
    paired = zip(concepts, guides if len(guides) > 1 else tuple(guides) * len(concepts), strict=True)
    return tuple(Erase(c, guide=g.strip(), weight=weight, wordings=tuple(wordings)) for c, g in paired)


def read_concepts(path: str | os.PathLike[str], *, guide: str = "", wordings: Sequence[str] = ()) -> tuple[Erase, ...]:
    """Concepts from a text file, one a line, or from a CSV with a `concept` column and maybe `guide` and `weight`.

    `guide` and `wordings` serve the rows that name none.

    Raises:
        ValueError: no concept in it, or a CSV without the column; file and line are named.
        OSError: the file cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8-sig")
    if Path(path).suffix.lower() != ".csv":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        edits = pair_up(lines, (guide,), wordings=wordings)
    else:
        edits = tuple(_csv_edits(text, Path(path).name, guide, tuple(wordings)))
    if not edits:
        raise ValueError(f"{path} names no concept; write one a line, or a CSV with a 'concept' column")
    return edits


def _csv_edits(text: str, name: str, guide: str, wordings: tuple[str, ...]) -> Iterable[Erase]:
    reader = csv.DictReader(text.splitlines())
    if "concept" not in (reader.fieldnames or ()):
        raise ValueError(f"{name}: expected a 'concept' column, found {', '.join(reader.fieldnames or ['nothing'])}")
    for row in reader:
        try:
            weight = float(row.get("weight") or 1.0)
            yield Erase(row["concept"] or "", guide=row.get("guide") or guide, weight=weight, wordings=wordings)
        except ValueError as error:
            reason = explain(error) if isinstance(error, ValidationError) else error
            raise ValueError(f"{name}, line {reader.line_num}: {reason}") from error


def explain(error: ValidationError) -> str:
    """The first complaint of a failed check, in one sentence: where, what is wrong, what was given."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in _KINDS)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"unknown key {first['loc'][-1]!r}"
    if first["type"] == "value_error":
        return f"{where}: {first['ctx']['error']}" if where else str(first["ctx"]["error"])
    return f"{where or 'value'}: {first['msg']} (got {first['input']!r})"


def _refuse_repeats(prompts: Sequence[str], where: str) -> None:
    seen: dict[str, str] = {}
    for prompt in prompts:
        if normal(prompt) in seen:
            raise ValueError(f"{prompt!r} stands twice in {where} (first as {seen[normal(prompt)]!r}); name it once")
        seen[normal(prompt)] = prompt


def _refuse_repeated_keys(node: yaml.Node | None, name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise ValueError(f"{name}, line {key.start_mark.line + 1}: key {key.value!r} stands twice")
            seen.add(key.value)
            _refuse_repeated_keys(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, name)


def _line(node: yaml.Node | None, location: Sequence[str | int]) -> int:
    """The line (from 1) of the deepest part of `location` that the file holds."""
    line = node.start_mark.line if node else 0
    for place, part in enumerate(location):
        names_the_kind = part in _KINDS and place + 1 < len(location)
        if isinstance(node, yaml.MappingNode) and not names_the_kind:
            key, value = next(((k, v) for k, v in node.value if k.value == str(part)), (None, None))
            if key is not None:
                node, line = value, key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1
