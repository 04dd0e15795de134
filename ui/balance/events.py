"""What happens on the card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ui.balance import work
from ui.bench.events import BenchEvents, asked
from ui.bench.words import split
from ui.bench.work import Wish
from ui.workshop.balancing import drawn_of
from ui.workshop.painting import shot_of
from ui.workshop.session import Visit
from ui.workshop.table import shares_of


def wish_of(
    visit: Visit, concept: str, shares: str, pictures: float, checked: float, steps: float
) -> tuple[Wish, work.Search]:
    """What the fields ask for, and the search that will count.

    Raises:
        ValueError: no concept or more than one, shares that are none, numbers of pictures that are none.
    """
    names = split(concept)
    if len(names) > 1:
        raise ValueError(f"one at a time: balance {names[0]} first, then {names[1]}; many at once are under Expert")
    across, shot = shares_of(shares), shot_of("x", 0, steps)
    search = work.Search(visit, drawn_of(pictures, 8, checked, shot.steps))
    wish = Wish(
        lambda model: work.recipe_of(model, names[0], across), (names[0],), (), 1, shot.steps,
        asked((concept, shares, pictures, checked, steps)), work.cells_of(names[0], shot.steps), search,
        search.judged,
    )  # fmt: skip
    return wish, search


def working(events: BenchEvents, bars: gr.HTML) -> Callable[..., Any]:
    """The handler of the main button."""

    def balance_people(
        visit: Visit, concept: str = "farmer", shares: str = "man 50 %, woman 50 %", pictures: float = 24,
        checked: float = 24, steps: float = 0, strength: float = 1.0,
    ) -> Iterator[dict[Any, Any]]:  # fmt: skip
        """Balance who is shown for a word: pictures are painted and counted, the goals moved until the shares are as
        wanted, and `checked` pictures counted at other seeds. It takes minutes; stopped, it goes on where it was."""
        yield {bars: ""}
        search: list[work.Search] = []

        def wished() -> Wish:
            wish, mine = wish_of(visit, concept, shares, pictures, checked, steps)
            search.append(mine)
            return wish

        for found in events.solve(visit, wished, strength):
            yield {**found, bars: work.bars(search[0].balance if search else None)}

    return balance_people
