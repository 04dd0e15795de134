"""What suppressing a list means for a model, and the check that counts pictures word by word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from concept_edit.audit.release import Decision
from concept_edit.demo.recipes import object_edit
from concept_edit.evaluation.intervals import wilson
from concept_edit.models.contract import Model
from concept_edit.recipe import Moderate, Recipe
from ui.bench.keep import neighbours
from ui.bench.work import bench_of
from ui.workshop import audit
from ui.workshop.audit import Plan, audit_of
from ui.workshop.session import Tell, Visit, Workshop

if TYPE_CHECKING:
    from concept_edit.evaluation import Figure, Report
    from concept_edit.evaluation.rows import Row

CARD = "suppress"
_PROMPTS, _STAYING = 4, 8
"""Different prompts of a word, and neighbours and unrelated prompts that are counted too."""
MOST_PICTURES = 64
"""Of one word in a check."""


@dataclass(frozen=True)
class Checked:
    """A check as the card shows it."""

    report: Report
    rows: tuple[tuple[str, str, str, str], ...]
    """Word, shown before, shown after with its interval, what that says."""


def recipe_of(model: Model, words: Sequence[str], keep: Sequence[str]) -> Recipe:
    """Suppress each word in the wordings that ask for a thing, and keep its neighbours."""
    known = model.name.startswith("demo")
    wordings = object_edit("x").wordings if known else ("object",)
    edits = tuple(Moderate(word, wordings=wordings) for word in words)
    return Recipe(edits=edits, preserve=tuple(keep) or neighbours(model.name, words), method="guarded")


def needed(width: float) -> int:
    """Pictures of a word until a share of none has a 95 % interval no wider than `width` (Wilson)."""
    n = 1
    while wilson(0, n)[1] > width:
        n += max(1, n // 16)
    return n


def rows_of(model: Model, recipe: Recipe, pictures: int) -> list[Row]:
    """`pictures` of every word, as many different prompts as there are and then other seeds, and a few of what should
    stay."""
    from concept_edit.evaluation.sets import choose_rows

    prompts = min(_PROMPTS, pictures)
    seeds = range(1001, 1001 + math.ceil(pictures / prompts))
    found = choose_rows(model, recipe, per_set=prompts * len(recipe.edits), seeds=seeds)
    rows: list[Row] = []
    for word in recipe.concepts:
        rows += [row for row in found if row.group == "edited" and row.subject == word][:pictures]
    for group in ("near", "unrelated"):
        rows += [row for row in found if row.group == group and row.seed == seeds[0]][:_STAYING]
    return rows


def check(workshop: Workshop, visit: Visit, pictures: int, tell: Tell) -> Checked:
    """Paint `pictures` of every word before and after, as many different prompts as there are and then other seeds, and
    count what the judge still sees.

    Raises:
        ValueError: nothing solved yet, or a number of pictures that this page does not paint.
    """
    version = bench_of(visit, CARD).versions.current
    if version is None:
        raise ValueError("there is no edit to check yet; press Suppress them first")
    if not 1 <= pictures <= MOST_PICTURES:
        raise ValueError(f"{pictures} pictures a word were asked for; give 1 to {MOST_PICTURES}")
    audit_of(visit).chosen = version
    report = audit.evaluate(workshop, visit, Plan(), tell, lambda model, recipe: rows_of(model, recipe, pictures))
    return Checked(report, tuple(_row(*found) for found in report.words()))


def _row(word: str, before: Figure, after: Figure) -> tuple[str, str, str, str]:
    said = "unsure"
    if before.value < 0.5:
        said = "was hardly shown before either"
    elif after.value > 0.25:
        said = "still shown"
    elif after.value <= 0.05:
        said = "suppressed" if after.high < 0.35 else "suppressed in these few"
    share = f"{after.value:.0%} ({after.low:.0%} to {after.high:.0%}) of {after.n}"
    return word, f"{before.value:.0%} of {before.n}", share, said


def report_zip(workshop: Workshop, visit: Visit, decision: str, tell: Tell) -> Path:
    """Edit, manifest, history and the last check's report as one ZIP.

    Raises:
        ValueError: nothing solved yet.
    """
    version = bench_of(visit, CARD).versions.current
    if version is None:
        raise ValueError("there is no edit to report on yet; press Suppress them first")
    audit_of(visit).chosen = version
    path, _ = audit.release(workshop, visit, Decision(decision.strip() or "not decided", (), (), ""), tell)
    return path
