"""What a slider means for a model: the recipe, its pictures, and a film strip over its whole range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.pictures import write_strip
from concept_edit.recipe import Recipe, Steer
from ui.bench.cells import Cell
from ui.bench.keep import neighbours
from ui.bench.seeing import eye_for
from ui.bench.verdict import Verdict
from ui.bench.work import bench_of
from ui.workshop.painting import Shot, painted
from ui.workshop.session import News, Tell, Visit, Workshop, stoppable

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.edit import Edit
    from concept_edit.models.opened import OpenedModel

CARD, REACH = "slide", (-2.0, 2.0)
STEPS = 9
_WORDINGS = ("a {}", "a picture of a {}", "a drawing of a {}", "an emoji of a {}")


def recipe_of(model: Any, concept: str, towards: str, away: str, keep: Sequence[str]) -> Recipe:
    """Lead the concept from `away` (strength −1) to `towards` (strength 1) and keep its neighbours."""
    wordings = _WORDINGS if model.name.startswith("demo") else ("object",)
    edit = Steer(
        concept, towards=towards, away=away, contrasts=_contrasts(model, concept, towards, away), wordings=wordings
    )
    return Recipe(
        edits=(edit,), preserve=tuple(keep) or neighbours(model.name, [concept]), method="guarded", tokens="subject"
    )


def _contrasts(model: Any, concept: str, towards: str, away: str) -> tuple[str, ...]:
    """The embedded models' other professions, where both ends name one: the direction is their mean."""
    from concept_edit.demo.concepts import PROFESSIONS

    names = [profession.name for profession in PROFESSIONS]
    named = concept in names and all(concept in end for end in (towards, away or concept))
    return tuple(n for n in names if n != concept) if named and model.name.startswith("demo") else ()


def cells_of(concept: str, seed: int, steps: int | None) -> Callable[[Any, Recipe], tuple[Cell, ...]]:
    """The concept at three seeds, and something that is kept."""

    def cells(model: Any, recipe: Recipe) -> tuple[Cell, ...]:
        asked = [Cell(Shot(_asked(concept), seed + i, steps), "word") for i in range(3)]
        other = next((name for name in recipe.preserve if name.lower() != concept.lower()), "a tree")
        return (*asked, Cell(Shot(other, seed, steps), "unrelated"))

    return cells


def _asked(concept: str) -> str:
    return concept if " " in concept else f"{'an' if concept[:1].lower() in 'aeiou' else 'a'} {concept}"


def judged(model: OpenedModel, edit: Edit | None, cells: Sequence[Cell], unknown: Sequence[Any]) -> Verdict:
    """What moved between before and after, and what stayed, in the judge's words."""
    if unknown:
        return Verdict("bad", unknown[0].sentence)
    eye = eye_for(model)
    if eye is None:
        return Verdict("calm", "Solved. Slide the strength and look at the strip: this model has no judge here.")
    before, after = (eye([getattr(c, side) for c in cells]) for side in ("before", "after"))
    asked = [i for i, cell in enumerate(cells) if cell.role == "word"]
    rest = [i for i, cell in enumerate(cells) if cell.role != "word"]
    moved = sum(before[i] != after[i] for i in asked)
    same = sum((before[i].concept, before[i].style) == (after[i].concept, after[i].style) for i in rest)
    still = sum(before[i].concept == after[i].concept for i in asked)
    further = " Slide the strength further for more." if 2 * moved <= len(asked) else ""
    told = (
        f"Seen to change in {moved} of {len(asked)} pictures, still the same thing in {still}; "
        f"others unchanged in {same} of {len(rest)}.{further}"
    )
    state = "good" if same == len(rest) and still == len(asked) and not further else "look"
    return Verdict(state, told, f"Seen by {eye.name}; a change it has no name for is not counted.")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Strip:
    """A slider's film strip."""

    strengths: tuple[float, ...]
    pictures: tuple[Image, ...]
    files: tuple[Path, Path]
    """PNG and GIF."""


def strip(workshop: Workshop, visit: Visit, tell: Tell) -> Strip:
    """The concept at one seed over the slider's whole range.

    Raises:
        ValueError: nothing solved yet.
    """
    bench = bench_of(visit, CARD)
    version = bench.versions.current
    if version is None or bench.board is None:
        raise ValueError("there is no slider yet; press Make the slider first")
    model = workshop.model(version.model)
    shot, (low, high) = bench.board.cells[0].shot, REACH
    strengths = tuple(low + (high - low) * i / (STEPS - 1) for i in range(STEPS))
    found = []
    with stoppable(visit, model):
        for i, strength in enumerate(strengths):
            held = type(version)(version.title, version.edit, version.model, strength)

            def told(news: News, done: int = i) -> None:
                share = None if news.share is None else (done + news.share) / STEPS
                tell(News(f"Film strip, {done + 1} of {STEPS}", share))

            found += painted(visit, model, held, [shot], told, what="film strip")
    names, about = [f"{strength:+.2g}" for strength in strengths], {"prompt": shot.prompt, "seed": str(shot.seed)}
    files = visit.folder / "strip.png", visit.folder / "strip.gif"
    for path in files:
        write_strip(path, [[picture] for picture in found], names, about)
    return Strip(strengths, tuple(found), files)
