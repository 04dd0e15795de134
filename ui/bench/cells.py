"""The pictures of an errand: a few prompts, each before and after at one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from concept_edit.recipe import Moderate, Recipe, normal
from ui.workshop.painting import Shot

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.models.contract import Model

ROLES = {
    "word": "asked to change",
    "near": "a near thing, should stay",
    "unrelated": "something else, should stay",
}
MOST = 12
"""Own prompts on a bench at most."""


@dataclass(frozen=True)
class Cell:
    """One prompt, before and after."""

    shot: Shot
    role: str
    """A key of `ROLES`."""
    veiled: bool = False
    """Whether its pictures are blurred until somebody asks."""
    before: Image | None = None
    after: Image | None = None
    saw_before: str = ""
    """What the judge sees; '' where there is none."""
    saw_after: str = ""

    @property
    def done(self) -> bool:
        """Whether both pictures are there."""
        return self.before is not None and self.after is not None


def cells_of(model: Model, recipe: Recipe, own: Sequence[str], *, seed: int, steps: int | None) -> tuple[Cell, ...]:
    """Two prompts of what is changed, a neighbour and something unrelated; or the visitor's own, each by what it names.

    Raises:
        ValueError: more than `MOST` prompts of one's own.
    """
    if len(own) > MOST:
        raise ValueError(f"{len(own)} prompts are more than this page shows side by side; give up to {MOST}")
    names = [normal(name) for name in recipe.concepts]
    if own:
        told = [(prompt, "word" if _names(prompt, names) else "unrelated") for prompt in own]
    else:
        told = _chosen(model, recipe)
    hidden = [normal(edit.concept) for edit in recipe.edits if isinstance(edit, Moderate)]
    return tuple(Cell(Shot(prompt, seed, steps), role, _names(prompt, hidden)) for prompt, role in told)


def _chosen(model: Model, recipe: Recipe) -> list[tuple[str, str]]:
    from concept_edit.evaluation.sets import choose_rows

    groups: dict[str, list[str]] = {"edited": [], "balanced": [], "near": [], "unrelated": []}
    for row in choose_rows(model, recipe, per_set=max(2, min(4, len(recipe.edits))), seeds=(1,)):
        if row.prompt not in groups[row.group]:
            groups[row.group].append(row.prompt)
    count = min(4, max(2, len(recipe.edits)))
    words = [(prompt, "word") for prompt in (groups["edited"] + groups["balanced"])[:count]]
    return [*words, *((p, "near") for p in groups["near"][:1]), *((p, "unrelated") for p in groups["unrelated"][:1])]


def _names(prompt: str, names: Sequence[str]) -> bool:
    return any(f" {name} " in f" {normal(prompt)} " for name in names)


def filled(cells: Sequence[Cell], at: int, **changes: object) -> tuple[Cell, ...]:
    """The cells with one of them changed."""
    return (*cells[:at], replace(cells[at], **changes), *cells[at + 1 :])  # type: ignore[arg-type]
