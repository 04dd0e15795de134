"""What the Edit tab does: preview, predict, solve, turn the strength, undo, redo, revoke. No layout here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from concept_edit.recipe import Recipe
from ui.workshop.balancing import Drawn, balanced, forgotten, unmeasured
from ui.workshop.painting import Shot, painted
from ui.workshop.session import News, Tell, Visit, Workshop, stoppable
from ui.workshop.table import recipe_of
from ui.workshop.versions import Version

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.balance.debias import Balance
    from concept_edit.diagnose import Diagnosis
    from concept_edit.edit import Edit
    from concept_edit.models.opened import OpenedModel

_TITLE = 60
"""Letters of a title in the history."""
MEANING = {
    "erased concept left": "What is left of the erased concept",
    "drift of kept prompts": "How far the kept prompts move",
    "drift of plain captions": "How far everyday prompts move",
    "drift of the empty prompt": "How far the empty prompt moves",
    "size of the change": "Size of the change, beside the matrices it changes",
}
"""The checks a person decides by; the rest stand in the full table."""
VERDICTS = {
    "good": "Looks good: the concepts go, the rest stays.",
    "look": "Worth a look: some figures are higher than they should be. Paint a few pictures before using it.",
    "bad": "Careful: this edit moves more than it should, see the rows marked bad. Compare pictures before you use it; "
    "more kept prompts, lower weights or a higher ridge make it gentler.",
}


@dataclass(frozen=True)
class Seen:
    """What a job of the Edit tab ends with."""

    edit: Edit | None = None
    diagnosis: Diagnosis | None = None
    pictures: tuple[Image, Image] | None = None
    """Before and after, at the same seed."""
    balance: Balance | None = None
    """What was counted, where something was balanced."""


def asked(visit: Visit, rows: Sequence[Sequence[Any]], keep: str | None, settings: Mapping[str, Any]) -> Recipe:
    """The recipe that the page's fields say.

    Raises:
        ValueError: as `recipe_of`.
    """
    return recipe_of(rows, keep or "", settings, visit.base)


def predict(workshop: Workshop, visit: Visit, recipe: Recipe) -> Iterator[News]:
    """Solve in memory and measure on the text side: what the edit will do, without a picture and without keeping it.

    Raises:
        ValueError: no concept, one that has to be balanced by pictures first, or as `solve` and `diagnose`.
    """
    _needs_concepts(recipe)
    waiting = unmeasured(recipe)
    if waiting:
        raise ValueError(
            f"balancing '{waiting[0].concept}' is measured in pictures, so there is nothing to predict; press "
            "Solve and paint"
        )

    def job(tell: Tell) -> Seen:
        model = _opened(workshop, visit, tell)
        with stoppable(visit, model):
            edit = _solved(visit, model, recipe, tell)
            return Seen(edit, _diagnosed(model, edit, tell))

    return workshop.work(visit, job)


def solve(workshop: Workshop, visit: Visit, recipe: Recipe, shot: Shot, strength: float = 1.0) -> Iterator[News]:
    """Solve, add the edit to the visitor's history, measure it, and paint before and after. What is to be balanced and
    was not measured yet is measured first.

    The edit stays in the history also when cancel is pressed while painting.

    Raises:
        ValueError: no concept, or as `solve`; the history is as it was then.
    """
    _needs_concepts(recipe)

    def job(tell: Tell) -> Seen:
        model = _opened(workshop, visit, tell)
        if unmeasured(recipe):
            balance = balanced(visit, model, recipe, Drawn(steps=shot.steps), tell)
            return _kept(visit, model, Seen(balance.edit, balance=balance), shot, strength, tell)
        with stoppable(visit, model):
            edit = _solved(visit, model, recipe, tell)
        return _kept(visit, model, Seen(edit), shot, strength, tell)

    return workshop.work(visit, job)


def balance(
    workshop: Workshop, visit: Visit, recipe: Recipe, drawn: Drawn, shot: Shot, strength: float = 1.0
) -> Iterator[News]:
    """Measure every balance of the recipe anew, then as `solve`.

    Raises:
        ValueError: nothing to balance, a model without a judge, or as `debias`; the history is as it was then.
    """
    asked = forgotten(recipe)

    def job(tell: Tell) -> Seen:
        model = _opened(workshop, visit, tell)
        found = balanced(visit, model, asked, drawn, tell)
        return _kept(visit, model, Seen(found.edit, balance=found), shot, strength, tell)

    return workshop.work(visit, job)


def _kept(visit: Visit, model: OpenedModel, seen: Seen, shot: Shot, strength: float, tell: Tell) -> Seen:
    """Add an edit to the history, measure it on the text side, and paint."""
    assert seen.edit is not None
    visit.base = seen.edit.recipe
    visit.edits.push(Version(title(seen.edit.recipe), seen.edit, visit.model, strength))
    with stoppable(visit, model):
        solved = replace(seen, diagnosis=_diagnosed(model, seen.edit, tell))
    tell(News("Solved", value=solved))
    return replace(solved, pictures=_pair(visit, model, shot, tell))


def look(workshop: Workshop, visit: Visit, shot: Shot) -> Iterator[News]:
    """Paint before and after under the version that holds, without solving anything."""

    def job(tell: Tell) -> Seen:
        return Seen(pictures=_pair(visit, _opened(workshop, visit, tell), shot, tell))

    return workshop.work(visit, job)


def turn(workshop: Workshop, visit: Visit, strength: float, shot: Shot) -> Iterator[News]:
    """Give the version that holds another strength, without solving again, and paint it.

    Raises:
        ValueError: nothing was solved yet.
    """
    if visit.edits.current is None:
        raise ValueError("the strength turns a solved edit; solve one first, or go forward in the history")
    visit.edits.turn(float(strength))
    return look(workshop, visit, shot)


def revoke(workshop: Workshop, visit: Visit, concept: str | None, shot: Shot) -> Iterator[News]:
    """Take one concept out of the version that holds; the rest is solved anew from its statistics.

    Raises:
        ValueError: nothing solved, or a concept the edit does not change.
    """
    version = visit.edits.current
    if version is None or not concept:
        raise ValueError("choose a concept of a solved edit to take out")
    smaller = version.edit.recipe.without(concept)

    def job(tell: Tell) -> Seen:
        model = _opened(workshop, visit, tell)
        edit = version.edit.without(concept)
        visit.base = smaller
        visit.edits.push(Version(f"without {concept}"[:_TITLE], edit, version.model, version.strength))
        with stoppable(visit, model):
            diagnosis = _diagnosed(model, edit, tell)
        return Seen(edit, diagnosis, _pair(visit, model, shot, tell))

    return workshop.work(visit, job)


def title(recipe: Recipe) -> str:
    """A recipe in a few words, for the history."""
    words = ", ".join(f"{_VERBS[type(edit).__name__]} {edit.concept}" for edit in recipe.edits)
    return words if len(words) <= _TITLE else f"{words[: _TITLE - 1]}…"


_VERBS = {"Erase": "erase", "Moderate": "moderate", "Debias": "balance", "Steer": "steer"}


def effect(diagnosis: Diagnosis) -> list[list[str]]:
    """The rows of the prediction: what, how much, where it is worst, verdict; a row for each meaning, at its worst."""
    rows = []
    for name, meaning in MEANING.items():
        found = [check for check in diagnosis.checks if check.name == name]
        if found:
            worst = max(found, key=lambda check: check.value)
            rows.append([meaning, f"{worst.value:.0%}", worst.subject, worst.verdict])
    return rows


def _needs_concepts(recipe: Recipe) -> None:
    if not recipe.edits:
        raise ValueError("the table is empty; add a concept, or click one of the examples")


def _opened(workshop: Workshop, visit: Visit, tell: Tell) -> OpenedModel:
    tell(News(f"Opening {visit.model}"))
    return workshop.model(visit.model)


def _solved(visit: Visit, model: OpenedModel, recipe: Recipe, tell: Tell) -> Edit:
    """The recipe's edit; solved once for a prediction and the solve that follows it."""
    import concept_edit as ce

    key = (model.fingerprint, recipe.compact())
    if visit.solved is None or visit.solved[0] != key:
        tell(News(f"Solving {len(recipe.edits)} concept{'s' * (len(recipe.edits) != 1)}"))
        visit.solved = (key, ce.solve(model, recipe))
    return visit.solved[1]


def _diagnosed(model: OpenedModel, edit: Edit, tell: Tell) -> Diagnosis:
    from concept_edit.diagnose import diagnose

    tell(News("Predicting the effect"))
    return diagnose(model, edit)


def _pair(visit: Visit, model: OpenedModel, shot: Shot, tell: Tell) -> tuple[Image, Image]:
    (before,) = painted(visit, model, None, [shot], tell, what="before")
    (after,) = painted(visit, model, fitting(visit, model), [shot], tell, what="after")
    return before, after


def fitting(visit: Visit, model: OpenedModel) -> Version | None:
    """The version that holds; refused where it was solved on another text encoder.

    Raises:
        ValueError: as `Edit.check`.
    """
    version = visit.edits.current
    return None if version is None else fitting_version(version, model)


def fitting_version(version: Version, model: OpenedModel) -> Version:
    """The version; refused where it was solved on another text encoder.

    Raises:
        ValueError: as `Edit.check`.
    """
    version.edit.check(model)
    return version
