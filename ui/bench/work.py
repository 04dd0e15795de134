"""The work of an errand on an image model: paint BEFORE, solve, paint AFTER, judge; at another strength; along the
history. No layout here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import concept_edit as ce
from concept_edit.recipe import Recipe
from ui.bench.cells import Cell, cells_of, filled
from ui.bench.seeing import eye_for
from ui.bench.verdict import Verdict, from_pictures, from_text
from ui.bench.words import looked_up
from ui.workshop.edit import fitting_version, title
from ui.workshop.painting import painted
from ui.workshop.session import News, Tell, Visit, Workshop, stoppable
from ui.workshop.versions import Version, Versions

if TYPE_CHECKING:
    from concept_edit.edit import Edit
    from concept_edit.familiar import Familiar
    from concept_edit.models.opened import OpenedModel

Judging = Callable[["OpenedModel", "Edit | None", Sequence[Cell], "Sequence[Familiar]"], Verdict]
"""(model, edit, painted cells, unknown words) -> verdict. Each card may have its own."""


@dataclass
class Bench:
    """What one visitor has on one card."""

    versions: Versions = field(default_factory=Versions)
    boards: dict[int, Board] = field(default_factory=dict)
    """By the version's number: what was painted with it last."""
    asked: str = ""
    """What the fields said when the current version was solved; another saying makes the verdict stale."""

    @property
    def board(self) -> Board | None:
        """What is shown."""
        return self.boards.get(self.versions.at)


@dataclass(frozen=True)
class Board:
    """Pictures and what they say."""

    cells: tuple[Cell, ...] = ()
    verdict: Verdict | None = None
    asked: str = ""


@dataclass(frozen=True)
class Wish:
    """What a card's fields ask for."""

    recipe: Callable[[OpenedModel], Recipe]
    """Made inside the lane, since it may need the model."""
    words: tuple[str, ...]
    """What is looked up: known or unknown."""
    prompts: tuple[str, ...] = ()
    """The visitor's own prompts; none: chosen from the recipe."""
    seed: int = 1
    steps: int | None = None
    asked: str = ""
    """The fields' values in one text."""
    cells: Callable[[OpenedModel, Recipe], tuple[Cell, ...]] | None = None
    """Which pictures; None: chosen from the recipe, or the visitor's own."""
    answer: Callable[[OpenedModel, Recipe, Tell], Edit] | None = None
    """How the recipe is solved; None: in closed form, at once."""
    judging: Judging | None = None
    """How the pictures are judged; None: as the card says."""


def bench_of(visit: Visit, card: str) -> Bench:
    """What this visitor has on a card."""
    return visit.benches.setdefault(card, Bench())


def solve(
    workshop: Workshop, visit: Visit, card: str, wish: Wish, strength: float, judging: Judging | None = None
) -> Iterator[News]:
    """Solve what is wished and paint it; news carry the board so far. The edit stays when it is stopped while painting.

    Raises:
        ValueError: as `solve`, or prompts that are too many.
    """
    bench = bench_of(visit, card)

    def job(tell: Tell) -> Board:
        tell(News(f"Opening {visit.model}"))
        model = workshop.model(visit.model)
        recipe = wish.recipe(model)
        with stoppable(visit, model):
            unknown = [each for each in looked_up(workshop, visit, wish.words) if each.verdict == "unknown"]
            cells = _cells(model, recipe, wish)
        tell(News("Painting before", 0.0, Board(cells, asked=wish.asked)))
        cells = _painted(visit, model, None, cells[:1], "before", tell, wish.asked, cells)
        tell(News(f"Solving {len(recipe.edits)} concept{'s' * (len(recipe.edits) != 1)}"))
        if wish.answer is not None:
            edit = wish.answer(model, recipe, tell)
        else:
            with stoppable(visit, model):
                edit = ce.solve(model, recipe)
        version = Version(title(recipe), edit, visit.model, strength)
        bench.versions.push(version)
        bench.boards = {at: board for at, board in bench.boards.items() if at < bench.versions.at}
        return _shown(visit, model, bench, version, cells, unknown, wish.asked, tell, wish.judging or judging or judged)

    return workshop.work(visit, job)


def turn(
    workshop: Workshop, visit: Visit, card: str, strength: float, judging: Judging | None = None
) -> Iterator[News]:
    """Paint what stands there at another strength, without solving.

    Raises:
        ValueError: nothing was solved yet.
    """
    bench = bench_of(visit, card)
    board = bench.board
    if bench.versions.current is None or board is None:
        raise ValueError("the strength turns a solved edit; press the main button first")
    bench.versions.turn(float(strength))
    version = bench.versions.current
    cells = tuple(replace(cell, after=None, saw_after="") for cell in board.cells)

    def job(tell: Tell) -> Board:
        model = workshop.model(version.model)
        fitting_version(version, model)
        return _shown(visit, model, bench, version, cells, (), board.asked, tell, judging or judged)

    return workshop.work(visit, job)


def go(visit: Visit, card: str, at: int) -> Board | None:
    """To another version of the history; its pictures as they were left. None: the original model.

    Raises:
        ValueError: there is none.
    """
    bench = bench_of(visit, card)
    if not bench.versions.go(at):
        raise ValueError("there is nothing further in that direction of the history")
    return bench.board


def _cells(model: OpenedModel, recipe: Recipe, wish: Wish) -> tuple[Cell, ...]:
    if wish.cells is not None and not wish.prompts:
        return wish.cells(model, recipe)
    return cells_of(model, recipe, wish.prompts, seed=wish.seed, steps=wish.steps)


def _shown(
    visit: Visit, model: OpenedModel, bench: Bench, version: Version, cells: tuple[Cell, ...],
    unknown: Sequence[Familiar], asked: str, tell: Tell, judging: Judging,
) -> Board:  # fmt: skip
    """Paint what is missing, AFTER of a cell right behind its BEFORE, and judge."""
    at = bench.versions.at
    for number in range(len(cells)):
        for side, held in (("before", None), ("after", version)):
            cells = _painted(visit, model, held, cells[number : number + 1], side, tell, asked, cells, number)
            bench.boards[at] = Board(cells, None, asked)
    tell(News("Judging", 1.0))
    with stoppable(visit, model):
        verdict = judging(model, version.edit, cells, unknown)
    bench.boards[at] = Board(cells, verdict, asked)
    return bench.boards[at]


def _painted(
    visit: Visit, model: OpenedModel, version: Version | None, part: Sequence[Cell], side: str, tell: Tell, asked: str,
    cells: tuple[Cell, ...], number: int = 0,
) -> tuple[Cell, ...]:  # fmt: skip
    """All cells, one of them with its picture; the board so far is told."""
    (cell,) = part
    if getattr(cell, side) is not None:
        return cells
    done = sum((each.before is not None) + (each.after is not None) for each in cells)
    total = 2 * len(cells)

    def told(news: News) -> None:
        share = None if news.share is None else (done + news.share) / total
        tell(replace(news, share=share))

    (picture,) = painted(visit, model, version, [cell.shot], told, what=f"{side}, {number + 1} of {len(cells)}")
    eye = eye_for(model)
    saw = eye([picture])[0].words if eye is not None else ""
    cells = filled(cells, number, **{side: picture, f"saw_{side}": saw})
    tell(News(f"Painted {done + 1} of {total}", (done + 1) / total, Board(cells, asked=asked)))
    return cells


def judged(model: OpenedModel, edit: Edit | None, cells: Sequence[Cell], unknown: Sequence[Familiar]) -> Verdict:
    """Of concepts that are taken out: from pictures where the judge knows them, else from the text side."""
    assert edit is not None
    eye = eye_for(model)
    found = from_pictures(cells, list(edit.concepts), eye, unknown) if eye is not None else None
    return found or from_text(ce.diagnose(model, edit), unknown)
