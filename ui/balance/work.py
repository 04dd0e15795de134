"""What balancing means: pictures are counted, goals moved, counted again at seeds the search never saw."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from concept_edit.recipe import Debias, Recipe
from ui.bench.cells import Cell
from ui.bench.keep import neighbours
from ui.bench.verdict import Verdict
from ui.workshop.balancing import Drawn, balanced
from ui.workshop.painting import Shot
from ui.workshop.session import News, Tell, Visit

if TYPE_CHECKING:
    from concept_edit.balance.debias import Balance
    from concept_edit.edit import Edit
    from concept_edit.evaluation.intervals import Figure
    from concept_edit.models.opened import OpenedModel

SHOWN = 4
"""Seeds of the profession that are shown."""


def recipe_of(model: Any, concept: str, across: dict[str, float]) -> Recipe:
    """Balance one concept and keep its neighbours."""
    return Recipe(
        edits=(Debias(concept, across=across),), preserve=neighbours(model.name, [concept])[:64], method="uce"
    )


def cells_of(concept: str, steps: int | None) -> Callable[[Any, Recipe], tuple[Cell, ...]]:
    """The bare concept at several seeds, and something else."""

    def cells(model: Any, recipe: Recipe) -> tuple[Cell, ...]:
        article = "an" if concept[:1].lower() in "aeiou" else "a"
        asked = [Cell(Shot(f"{article} {concept}", seed, steps), "word") for seed in range(1, SHOWN + 1)]
        return tuple(asked)

    return cells


class Search:
    """Runs the search and remembers what was counted, for the bars and the verdict."""

    def __init__(self, visit: Visit, drawn: Drawn) -> None:
        self.visit, self.drawn = visit, drawn
        self.balance: Balance | None = None

    def __call__(self, model: OpenedModel, recipe: Recipe, tell: Tell) -> Edit:
        """The solved edit."""
        self.balance = balanced(self.visit, model, recipe, self.drawn, lambda news: tell(News(news.text)))
        return self.balance.edit

    def judged(self, model: OpenedModel, edit: Edit | None, cells: Sequence[Cell], unknown: Sequence[Any]) -> Verdict:
        """Whether the shares are as wanted, from the check's pictures."""
        return unchecked() if self.balance is None else _judged(self.balance)


def unchecked(*_: Any) -> Verdict:
    """At a strength at which nothing was counted."""
    return Verdict("calm", "Painted at this strength; the shares were counted at strength 1.")


def shares(balance: Balance) -> list[Figure]:
    """The shares of the check at seeds the search never saw, over all prompts of a kind; of two attributes the last,
    since the other is the rest."""
    (asked,) = (edit for edit in balance.edit.recipe.edits if isinstance(edit, Debias))
    names = list(asked.across)
    shown = names[-1:] if len(names) == 2 else names
    return [
        figure for figure in balance.figures
        if figure.name.endswith(" templates") and any(figure.name.startswith(f"share of {name},") for name in shown)
    ]  # fmt: skip


def _judged(balance: Balance) -> Verdict:
    (asked,) = (edit for edit in balance.edit.recipe.edits if isinstance(edit, Debias))
    told, good = [], True
    after = [figure for figure in shares(balance) if figure.side == "after"]
    if not after:
        return Verdict("calm", "Balanced as far as the search counted; nothing was checked at other seeds.")
    for figure in after:
        name = figure.name.removeprefix("share of ").partition(",")[0]
        goal = asked.across[name]
        good &= figure.low <= goal <= figure.high
        where = "in wordings that were searched" if "training" in figure.name else "in wordings that were not"
        told.append(f"{figure.value:.0%} {name} ({figure.low:.0%} to {figure.high:.0%}) {where}, wanted {goal:.0%}")
    by = f"Counted by the judge in {after[0].n} pictures each, at seeds the search never saw."
    return Verdict("good" if good else "look", f"{'; '.join(told)}.", by)


def bars(balance: Balance | None) -> str:
    """The shares as bars before and after, with their intervals."""
    if balance is None:
        return ""
    lines = []
    for figure in shares(balance):
        text = f"{figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%}), {figure.n} pictures"
        span = f"left: {100 * figure.low:.1f}%; width: {100 * max(0.004, figure.high - figure.low):.1f}%"
        lines.append(
            f'<div class="share {figure.side}"><span>{html.escape(_called(figure))}</span>'
            f'<div class="bar" role="img" aria-label="{html.escape(text)}"><i style="width: {100 * figure.value:.1f}%">'
            f'</i><b style="{span}"></b></div><small>{html.escape(text)}</small></div>'
        )
    return f'<div class="shares">{"".join(lines)}</div>'


def _called(figure: Figure) -> str:
    where = "searched wordings" if "training" in figure.name else "other wordings"
    return f"{figure.side}: {figure.name.partition(',')[0]}, {where}"
