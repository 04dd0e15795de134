"""A job of the lane as a page follows it: a note while it runs, its result at the end, a sentence when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ui.workshop.export import in_words
from ui.workshop.parts import says, trouble
from ui.workshop.session import News, Tell, Visit, Workshop


def follow(workshop: Workshop, visit: Visit, job: Callable[[Tell], Any]) -> Iterator[tuple[str, Any]]:
    """The note and None while `job` waits and runs, then '' and its result; the error's note and None if it fails."""
    try:
        for news in workshop.work(visit, job):
            yield ("", news.value) if news.done else (says(news), None)
    except Exception as error:
        yield trouble(error), None


def handed(start: Callable[[], Iterator[News]], about: Callable[[], str] = str) -> Iterator[tuple[str, str | None]]:
    """A file that a job writes: notes and None while it runs, then its name with its size and the path that is handed
    out. Gradio keeps a copy, so the file itself goes. `about` says more of it, such as ", of the second step"."""
    try:
        for news in start():
            if not news.done:
                yield says(news), None
                continue
            size = in_words(news.value.stat().st_size)
            yield says(f"{news.value.name} is ready: {size}{about()}."), str(news.value)
            news.value.unlink(missing_ok=True)
    except Exception as error:
        yield trouble(error), None
