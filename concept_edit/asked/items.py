"""What can be asked of one concept: that it is erased, moderated or balanced. Plain data, checked when made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic.dataclasses import dataclass

from concept_edit.asked.wordings import named, normal, prompts_of, templates_of

_STRICT = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True, allow_inf_nan=False)

Weight = Annotated[float, Field(gt=0)]
Aims = Mapping[str, float] | Mapping[str, Mapping[str, float]]
"""Attribute -> α, or wording -> attribute -> α."""


def _listed(wordings: Any) -> Any:
    """A single wording is a list of one."""
    return (wordings,) if isinstance(wordings, str) else wordings


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

    _check_concept = field_validator("concept")(named)
    _one_wording = field_validator("wordings", mode="before")(_listed)

    def templates(self) -> tuple[str, ...]:
        """`{}` and every wording as it was given, sets spelt out, each once, in order."""
        return templates_of(self.wordings)

    def prompts(self) -> tuple[str, ...]:
        """The concept itself and every wording of it, each once, in order."""
        return prompts_of(self.concept, self.wordings)


@dataclass(frozen=True, config=_STRICT)
class Moderate:
    """Erase `concept` towards the empty prompt."""

    concept: Annotated[str, Field(validation_alias="moderate", serialization_alias="moderate")]
    """The word or phrase to suppress."""
    weight: Weight = 1.0
    """Weight of this concept beside the others; times `Recipe.erase_scale`."""
    wordings: tuple[str, ...] = ()
    """Further prompts that mean the concept, as in `Erase`."""

    _check_concept = field_validator("concept")(named)
    _one_wording = field_validator("wordings", mode="before")(_listed)

    @property
    def guide(self) -> str:
        """The empty prompt."""
        return ""

    def templates(self) -> tuple[str, ...]:
        """As of `Erase`."""
        return templates_of(self.wordings)

    def prompts(self) -> tuple[str, ...]:
        """The concept itself and every wording of it, each once, in order."""
        return prompts_of(self.concept, self.wordings)


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

    _check_concept = field_validator("concept")(named)
    _one_wording = field_validator("wordings", mode="before")(_listed)

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
        return prompts_of(self.concept, self.wordings)

    def templates(self) -> tuple[str, ...]:
        """As of `Erase`."""
        return templates_of(self.wordings)

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


KINDS: Mapping[str, type] = {"erase": Erase, "moderate": Moderate, "debias": Debias}


def _kind(edit: Any) -> str | None:
    if isinstance(edit, Mapping):
        return next((kind for kind in KINDS if kind in edit), None)
    return type(edit).__name__.lower()


AnyEdit = Annotated[
    Annotated[Erase, Tag("erase")] | Annotated[Moderate, Tag("moderate")] | Annotated[Debias, Tag("debias")],
    Discriminator(
        _kind, custom_error_type="edit_kind", custom_error_message="an edit starts with erase, moderate or debias"
    ),
]
