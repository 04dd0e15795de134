"""What happens on the card."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ui.bench.events import BenchEvents, asked
from ui.bench.words import split
from ui.bench.work import Wish
from ui.style.work import recipe_of
from ui.workshop.lists import lines_of
from ui.workshop.painting import shot_of
from ui.workshop.session import Visit


def wish_of(words: str, instead: str, keep: str, prompts: str, seed: float, steps: float) -> Wish:
    """What the fields ask for.

    Raises:
        ValueError: no word, a seed or steps that are no whole numbers.
    """
    names, kept = tuple(split(words)), tuple(lines_of(keep))
    shot = shot_of("x", seed, steps)
    return Wish(
        lambda model: recipe_of(model, names, (instead or "").strip(), kept), names, tuple(lines_of(prompts)),
        shot.seed, shot.steps, asked((words, instead, keep, prompts, seed, steps)),
    )  # fmt: skip


def working(events: BenchEvents) -> Any:
    """The handler of the main button."""

    def style(
        visit: Visit, words: str = "Twemoji", instead: str = "", keep: str = "", prompts: str = "", seed: float = 1,
        steps: float = 0, strength: float = 1.0,
    ) -> Iterator[dict[Any, Any]]:  # fmt: skip
        """Take styles or things out of the model: solve, paint before and after, judge. `words` by ';', `instead` is
        painted in their place ('' chooses), `keep` is what must stay, one a line ('' keeps the neighbours)."""
        yield from events.solve(visit, lambda: wish_of(words, instead, keep, prompts, seed, steps), strength)

    return style
