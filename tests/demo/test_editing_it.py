"""The main job on the embedded model, seen by the judge: the erased concept goes, the others stay, at the same seeds.

The settings are those of `concept_edit.demo.recipes`: method `guarded`, with wordings and the rest kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import STYLE_TEMPLATES, caption, pairs
from concept_edit.demo.judge import Judge
from concept_edit.demo.recipes import erase_object, erase_style
from concept_edit.models import Model

Row = tuple[str, str, str, int]
"""Prompt, concept, style, seed."""


@dataclass(frozen=True)
class Trial:
    """Pictures before and after an edit: of the erased concept, and of a sample of all others."""

    erased: list[Row]
    kept: list[Row]
    before: list[Row]
    after: list[Row]

    def right(self, answers: list[Row], rows: list[Row], field: int) -> float:
        lookup = dict(zip([*self.erased, *self.kept], answers, strict=True))
        return sum(lookup[row][field] == row[field] for row in rows) / len(rows)


def rows(concept: str = "", style: str = "") -> tuple[list[Row], list[Row]]:
    """(rows of what is erased, over 20 of them, every seventh of the others)."""
    grid = [(caption(STYLE_TEMPLATES[0], c.name, s.name), c.name, s.name, 11) for c, s in pairs()]
    erased = [row for row in grid if concept in row[1:] or style in row[1:]]
    kept = [row for row in grid if row not in erased]
    more = [(*row[:3], seed) for row in erased for seed in range(11, 17)] if len(erased) < 24 else erased
    return more[:: max(1, len(more) // 24)], kept[::7]


def trial(model: Model, judge: Judge, recipe: ce.Recipe, erased: list[Row], kept: list[Row]) -> Trial:
    asked = [*erased, *kept]

    def seen() -> list[Row]:
        images = model.generate([row[0] for row in asked], [row[3] for row in asked], batch_size=16)
        return [(row[0], v.concept, v.style, row[3]) for row, v in zip(asked, judge(images), strict=True)]

    before = seen()
    with ce.solve(model, recipe).applied(model):
        return Trial(erased, kept, before, seen())


@pytest.fixture(scope="module")
def model() -> Model:
    return ce.open_model("demo")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge()


def test_an_erased_style_goes_and_everything_else_stays(model: Model, judge: Judge) -> None:
    erased, kept = rows(style="Twemoji")
    seen = trial(model, judge, erase_style("Twemoji"), erased, kept)
    assert seen.right(seen.before, erased, 2) >= 0.8
    assert seen.right(seen.after, erased, 2) <= 0.05
    for field in (1, 2):
        assert seen.right(seen.after, kept, field) >= 0.95 * seen.right(seen.before, kept, field)


def test_an_erased_object_goes_and_everything_else_stays(model: Model, judge: Judge) -> None:
    erased, kept = rows(concept="cat")
    seen = trial(model, judge, erase_object("cat"), erased, kept)
    assert seen.right(seen.before, erased, 1) >= 0.75
    assert seen.right(seen.after, erased, 1) <= 0.05
    for field in (1, 2):
        assert seen.right(seen.after, kept, field) >= 0.95 * seen.right(seen.before, kept, field)
