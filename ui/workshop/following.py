"""A job of the lane as a page follows it: a note while it runs, its result at the end, a sentence when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ui.workshop.parts import says, trouble
from ui.workshop.session import Tell, Visit, Workshop


def follow(workshop: Workshop, visit: Visit, job: Callable[[Tell], Any]) -> Iterator[tuple[str, Any]]:
    """The note and None while `job` waits and runs, then '' and its result; the error's note and None if it fails."""
    try:
        for news in workshop.work(visit, job):
            yield ("", news.value) if news.done else (says(news), None)
    except Exception as error:
        yield trouble(error), None
