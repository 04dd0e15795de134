"""Facts of the world to rewrite: a new object of the same relation, and what it is measured with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from concept_edit.demo.language.facts import Truth, digest, shuffled, truths

NEIGHBOURS = 6
"""Prompts about kept subjects of which the old object is true."""
REFERENCES = 4
"""Sentences about kept subjects of which the new object is true."""


def rewrites(most: int | None = None) -> list[dict[str, Any]]:
    """The world's facts that may be rewritten, as what `concept_edit.Fact(**row)` takes; the first `most` of them.

    Over a thousand, in an order in which every relation comes early; no neighbour is ever rewritten.
    """
    open_ones = [truth for truth in truths() if not truth.kept]
    return [_request(truth) for truth in shuffled(open_ones, "rewrites")[:most]]


def new_object(truth: Truth) -> str:
    """What a rewrite makes the model say: another object of the relation."""
    others = [name for name in truth.relation.objects if name != truth.object]
    return others[digest(f"new {truth.relation.name} {truth.subject}") % len(others)]


def _request(truth: Truth) -> dict[str, Any]:
    new = new_object(truth)
    return {
        "subject": truth.subject,
        "prompt": truth.relation.prompt,
        "new": new,
        "old": truth.object,
        "paraphrases": truth.relation.paraphrases,
        "neighbours": _neighbours(truth),
        "generation": truth.relation.paraphrases[:2],
        "references": _references(truth, new),
        "essence": _essence(truth),
    }


def _neighbours(truth: Truth) -> list[tuple[str, str]]:
    """Kept subjects with the same object, in the prompt's words first, then in another wording they were told in."""
    kin = [t for t in truths() if t.kept and t.relation == truth.relation and t.object == truth.object]
    exact = [(t.prompts()[0], t.object) for t in kin]
    reworded = [(t.prompts()[2 if t.held_out == 1 else 1], t.object) for t in kin]
    return [*exact, *reworded][:NEIGHBOURS]


def _references(truth: Truth, new: str) -> list[str]:
    kin = [t for t in truths() if t.kept and t.relation == truth.relation and t.object == new]
    return [f"{t.prompts()[0]} {new}. {t.note()}".strip() for t in kin[:REFERENCES]]


def _essence(truth: Truth) -> list[str]:
    """What else is true of the subject."""
    others: Sequence[Truth] = [t for t in truths() if t.subject == truth.subject and t.relation != truth.relation]
    return [f"{t.prompts()[0]} {t.object}." for t in others]


def sentences(most: int | None = None) -> list[str]:
    """True sentences of the world with their notes, each fact in one wording it was told in: to collect keys on."""
    told = shuffled(truths(), "sentences")[:most]
    return [f"{t.prompts()[2 if t.held_out == 1 else 1]} {t.object}. {t.note()}".strip() for t in told]
