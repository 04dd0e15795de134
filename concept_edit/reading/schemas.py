"""What the header of each kind of file may say: types, finite numbers, bounds, and no key that is not known.

A key that a later version adds belongs here too: what a reader does not know, it may not silently leave out.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from concept_edit.reading.plain import sentence, short

MOST_CONCEPTS = 20_000
MOST_PROMPTS = 100_000
"""Kept prompts of a recipe, sampled captions of a corpus."""


def _asked(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe is checked by its own class; here only that this cannot take for ever."""
    for key, most in (("edits", MOST_CONCEPTS), ("preserve", MOST_PROMPTS)):
        listed = recipe.get(key, [])
        if not isinstance(listed, list):
            raise ValueError(f"{key} must be a list")
        if len(listed) > most:
            raise ValueError(f"{len(listed):,} {key}, over the limit of {most:,}")
    return recipe


Text = Annotated[str, Field(max_length=4096)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
"""Of a text stream."""
Count = Annotated[int, Field(ge=0, le=1 << 24)]
Asked = Annotated[dict[str, Any], AfterValidator(_asked)]


class Header(BaseModel):
    """What all headers share."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StatisticsPart(Header):
    """What an edit was solved from, inside the edit's header."""

    recipe: Asked
    model: Text
    text_encoder: Text
    cut: dict[str, str]
    streams: Annotated[list[Name], Field(min_length=1, max_length=64)]
    corpus: Text = ""
    common: Annotated[list[Text], Field(max_length=MOST_PROMPTS)] = []


class StatisticsHeader(StatisticsPart):
    """A file of statistics."""

    format: Text


class EditHeader(Header):
    """An edit file."""

    format: Text
    toolkit: Text
    model: Text
    text_encoder: Text
    recipe: Asked
    counts: Annotated[dict[Name, list[Count] | None], Field(max_length=64)]
    ridge: float | None = None
    corpus: Text = ""
    predicted: dict[Name, dict[Name, float]] = {}
    statistics: StatisticsPart | None = None
    manifest: Text | None = None


class CorpusHeader(Header):
    """A file of a corpus."""

    format: Text
    captions: Annotated[int, Field(ge=1)]
    sampled: Annotated[list[str], Field(max_length=MOST_PROMPTS)]
    model: Text
    text_encoder: Text
    weights: Annotated[dict[Name, Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=64)]
    of: Text | None = None
    sha256: Text | None = None
    """Of a kept corpus: over its header and numbers."""


Layers = Annotated[list[Annotated[int, Field(ge=0, le=4096)]], Field(max_length=4096)]


class FactsHeader(Header):
    """An edit file of facts."""

    format: Text
    toolkit: Text
    model: Text
    fingerprint: Text
    method: Text
    mode: Literal["hard", "sequence", "soft"] | None
    layers: Layers
    notes: list[str]
    matrices: Annotated[list[Text], Field(max_length=4096)]
    facts: Annotated[list[dict[str, Any]], Field(max_length=MOST_CONCEPTS)]


class KeysHeader(Header):
    """Second moments of keys."""

    format: Text
    tokens: Annotated[int, Field(ge=1)]
    shrinkage: Annotated[float, Field(ge=0, le=1)]
    corpus: Text
    model: Text
    fingerprint: Text
    layers: Layers


def told(error: ValidationError) -> str:
    """The first complaint of a schema in one sentence: where, what is wrong, what was given."""
    first = error.errors(include_url=False)[0]
    where = ".".join(short(part) if isinstance(part, str) else str(part) for part in first["loc"]).replace("'", "")
    if first["type"] == "extra_forbidden":
        return f"it has the key {short(first['loc'][-1])}, which this version does not know"
    if first["type"] == "missing":
        return f"it lacks {where}"
    if first["type"] == "value_error":
        return f"{where}: {sentence(first['ctx']['error'])}"
    return f"{where}: {sentence(first['msg'])} (got {short(first['input'])})"
