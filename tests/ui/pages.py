"""What the tests of the page share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from concept_edit.recipe import Erase, Recipe
from ui.workshop.painting import Shot
from ui.workshop.session import News

QUICK = Shot("a rocket in the style of Twemoji", 1, 2)
"""Two steps: enough to differ, soon painted."""
SMALL = Recipe(
    edits=(Erase("Twemoji", guide="in the style of Noto", wordings=("in the style of {}",)), Erase("cat", guide="dog")),
    preserve=("Lobe", "penguin"),
    method="uce",
)


def result(news: Iterator[News]) -> Any:
    """What a job ends with."""
    *_, last = news
    assert last.done
    return last.value


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
