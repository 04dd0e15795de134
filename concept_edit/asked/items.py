"""What can be asked of one concept: erase, moderate, balance or steer it. Plain data, checked when made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

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

    stays: ClassVar[bool] = False
    """Whether the concept itself should still be painted."""
    concept: Annotated[str, Field(validation_alias="erase", serialization_alias="erase")]
    """The word or phrase to erase."""
    guide: str = ""
    """The prompt whose meaning takes its place. 'auto' is the centroid of what is kept, or of neutral words where
    little is; 'neutral' is that of neutral words. '' is the empty prompt under method `uce`; under the others 'neutral'
    for a style or an artist (`Recipe.in_manner`), else 'auto'."""
    weight: Weight = 1.0
    """Weight of this concept beside the others; times `Recipe.erase_scale`."""
    wordings: tuple[str, ...] = ()
    """Further prompts that mean the concept: templates with `{}`, whole phrases, or sets of `WORDINGS`."""

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

    stays: ClassVar[bool] = False
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

    stays: ClassVar[bool] = True
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


@dataclass(frozen=True, config=_STRICT)
class Steer:
    """Slide `concept` along the way from `away` to `towards`: a slider, whose strength says how far and which way.

    The goal of the concept's rows is c + (towards − away), row by row in place; an edit is linear in its strength, so
    at strength α they are led to c + α (towards − away), and a negative strength leads the other way. With `contrasts`
    the difference is the mean over the concept and these: what one pair of prompts says besides the attribute averages
    out (the difference in means of Belrose et al., arXiv 2306.03819, in place of one pair).
    """

    stays: ClassVar[bool] = True
    concept: Annotated[str, Field(validation_alias="steer", serialization_alias="steer")]
    """The word or phrase to slide, such as a profession."""
    towards: str
    """How the concept is asked for at the upper end: 'old person'."""
    away: str = ""
    """How it is asked for at the lower end: 'young person'; '' is the concept as it is."""
    contrasts: tuple[str, ...] = ()
    """Further concepts that both ends are asked of too, each in the concept's place: other professions."""
    range: tuple[float, float] = (-2.0, 2.0)
    """Strengths between which the slider is meant to be used."""
    weight: Weight = 1.0
    """Weight of this concept beside the others; times `Recipe.erase_scale`."""
    wordings: tuple[str, ...] = ()
    """Further prompts that mean the concept: templates with `{}`, or sets of `WORDINGS`."""

    _check_concept = field_validator("concept")(named)
    _one_wording = field_validator("wordings", "contrasts", mode="before")(_listed)

    @model_validator(mode="after")
    def _check_ends(self) -> Steer:
        if self.contrasts and not all(self.concept in end for end in (self.towards, self.away or self.concept)):
            raise ValueError(
                f"with contrasts both ends must name {self.concept!r}, so that the others can stand in its place: "
                f"'old {self.concept}', 'young {self.concept}'"
            )
        whole = [template for template in self.templates() if "{}" not in template]
        if whole:
            raise ValueError(f"the wording {whole[0]!r} names no place for the ends of the slider; write {{}} in it")
        if not self.towards.strip() or normal(self.towards) == normal(self.away or self.concept):
            raise ValueError(f"the slider leads from {self.away or self.concept!r} to {self.towards!r}; name two ends")
        low, high = self.range
        if not low < high:
            raise ValueError(f"the range {low:g} to {high:g} is empty; give the lower strength first")
        return self

    def prompts(self) -> tuple[str, ...]:
        """The concept itself and every wording of it, each once, in order."""
        return prompts_of(self.concept, self.wordings)

    def templates(self) -> tuple[str, ...]:
        """As of `Erase`."""
        return templates_of(self.wordings)

    def ends(self, template: str, of: str | None = None) -> tuple[str, str]:
        """The prompts at both ends of one of `templates()`: towards, away; `of` is a contrast in the concept's
        place."""
        towards, away = self.towards, self.away or self.concept
        if of is not None:
            towards, away = (end.replace(self.concept, of) for end in (towards, away))
        return template.replace("{}", towards).strip(), template.replace("{}", away).strip()


KINDS: Mapping[str, type] = {"erase": Erase, "moderate": Moderate, "debias": Debias, "steer": Steer}


def _kind(edit: Any) -> str | None:
    if isinstance(edit, Mapping):
        return next((kind for kind in KINDS if kind in edit), None)
    return type(edit).__name__.lower()


AnyEdit = Annotated[
    Annotated[Erase, Tag("erase")]
    | Annotated[Moderate, Tag("moderate")]
    | Annotated[Debias, Tag("debias")]
    | Annotated[Steer, Tag("steer")],
    Discriminator(
        _kind,
        custom_error_type="edit_kind",
        custom_error_message="an edit starts with erase, moderate, debias or steer",
    ),
]
