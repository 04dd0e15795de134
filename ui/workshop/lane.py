"""One lane of heavy work: jobs run one at a time, in the order they came, and tell how far they are."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ui.workshop.visit import Visit

_LOOK = 0.1
"""Seconds between two looks of a waiting visitor at the stop button."""
_PAUSE = 0.3
"""Seconds between two movements of a bar; a page need not hear of every step."""


@dataclass(frozen=True)
class News:
    """What a job tells while it runs; the last has `done` set and carries the result."""

    text: str = ""
    share: float | None = None
    """How much is done, 0 to 1; None where nobody knows."""
    value: Any = None
    """Something to show already, such as the pictures so far; at the end the result."""
    done: bool = False
    left: float | None = None
    """Seconds until the end, estimated from the share; the lane fills it in."""


def in_words(seconds: float) -> str:
    """'8 s' or '3 min'."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


Tell = Callable[[News], None]


class Worker:
    """The one thread that does the work. The C library keeps memory by thread: with a thread for each job, what one
    job frees is not found by the next, and the process grows with the number of visitors."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._thread: int | None = None
        self._starting = threading.Lock()

    def __call__(self, job: Callable[[], Any]) -> Any:
        """Run `job()` there and wait for it; its result, or its error raised here. A job may ask for more."""
        if threading.get_ident() == self._thread:
            return job()
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=_serve, args=(self._todo,), name="worker", daemon=True)
                thread.start()
                self._thread = thread.ident
        answer: Future[Any] = Future()
        self._todo.put((job, answer))
        return answer.result()


def _serve(todo: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]]) -> None:
    while True:
        job, answer = todo.get()
        try:
            answer.set_result(job())
        except BaseException as error:
            answer.set_exception(error)
        del job, answer


class Ticket:
    """A place in the line. A light job's ticket carries the job, so that a heavy one may run it between two steps."""

    def __init__(self, light: Callable[[], None] | None = None) -> None:
        self._light, self._claim = light, threading.Lock()
        self.ran = threading.Event()
        """Set when the light job was run by another job's pause."""

    @property
    def light(self) -> bool:
        """Whether it may be run in a pause."""
        return self._light is not None

    def claim(self) -> bool:
        """Take the right to run it; True for the first who asks."""
        return self._claim.acquire(blocking=False)

    def run(self) -> None:
        """Run the light job here and say so."""
        assert self._light is not None
        self._light()
        self.ran.set()


class Lane:
    """A fair lock with a waiting line that everybody sees. Light jobs go before heavy ones that wait, and are run in
    the pauses of the heavy one that works (`breathe`)."""

    def __init__(self) -> None:
        self._line: deque[Ticket] = deque()
        self._turn = threading.Condition()
        self._worker = Worker()
        self._began = 0.0
        self._share = 0.0

    @contextmanager
    def lane(
        self, visit: Visit, waiting: Callable[[int], None] | None = None, ticket: Ticket | None = None
    ) -> Iterator[bool]:
        """The right to use the device: one visitor at a time, in the order they came. False where the ticket's light
        job was run meanwhile and there is nothing left to do.

        `waiting(before)` is told how many are before this visitor whenever that changes.

        Raises:
            Stopped: cancel was pressed while waiting.
        """
        ticket, told = ticket or Ticket(), -1
        with self._turn:
            self._join(ticket)
        try:
            while (before := self._before(ticket)) > 0 and not ticket.ran.is_set():
                if before != told and waiting is not None:
                    waiting(before)
                told = before
                if not ticket.light:
                    visit.check()
                with self._turn:
                    self._turn.wait(_LOOK)
            mine = ticket.claim()
            if mine:
                if not ticket.light:
                    visit.check()
                self._began, self._share = time.monotonic(), 0.0
            else:
                ticket.ran.wait()
            yield mine
        finally:
            with self._turn:
                self._line.remove(ticket)
                self._turn.notify_all()

    def _join(self, ticket: Ticket) -> None:
        if not ticket.light:
            self._line.append(ticket)
            return
        at = next((i for i, other in enumerate(self._line) if i and not other.light), len(self._line))
        self._line.insert(at, ticket)

    def _before(self, ticket: Ticket) -> int:
        with self._turn:
            return self._line.index(ticket)

    def breathe(self) -> None:
        """A pause of the job that works, between two pictures: the light jobs that wait are run now."""
        with self._turn:
            waiting = [ticket for ticket in list(self._line)[1:] if ticket.light]
        for ticket in waiting:
            if ticket.claim():
                ticket.run()

    def left(self) -> float | None:
        """Seconds until the job that works is done, estimated; None where nobody knows."""
        if self._share < 0.02:
            return None
        return (time.monotonic() - self._began) * (1 - self._share) / self._share

    def work(self, visit: Visit, job: Callable[[Tell], Any], *, light: bool = False) -> Iterator[News]:
        """Run `job(tell)` in the lane, on the lane's own thread, and give its news as they come.

        The last news has `done` and the job's result as `value`. An error of the job is raised here. A caller that
        goes away leaves nothing locked: the job ends by itself, or at its next step after `visit.stop`. A light job
        (well under a second, no weights changed) may run beside a heavy one of the same visit, in its pauses.

        Raises:
            BusyError: another job of this visit still runs.
            Stopped: cancel was pressed.
        """
        if not light:
            visit._begin()
        news: queue.SimpleQueue[News | BaseException] = queue.SimpleQueue()
        run = self._run_light if light else self._run
        threading.Thread(target=run, args=(visit, job, news.put), name="job", daemon=True).start()
        told, text = 0.0, ""
        while True:
            item = news.get()
            if isinstance(item, BaseException):
                raise item
            bar = item.share is not None and item.value is None and not item.done and item.text == text
            if not bar or time.monotonic() - told > _PAUSE:
                told, text = time.monotonic(), item.text
                yield item
            if item.done:
                return

    def _run(self, visit: Visit, job: Callable[[Tell], Any], put: Callable[[News | BaseException], None]) -> None:
        def tell(news: News) -> None:
            self._share = self._share if news.share is None else news.share
            visit.left = self.left() if news.share is not None else None
            put(replace(news, left=visit.left))

        last: News | BaseException
        try:
            with self.lane(visit, lambda before: put(News(self._waiting(before)))):
                visit.breathe = self.breathe
                last = News(value=self._worker(lambda: job(tell)), done=True)
        except BaseException as error:
            last = error
        visit.left = None
        visit._end()
        put(last)

    def _run_light(self, visit: Visit, job: Callable[[Tell], Any], put: Callable[[News | BaseException], None]) -> None:
        found: list[News | BaseException] = []

        def run() -> None:
            try:
                found.append(News(value=job(put), done=True))
            except BaseException as error:
                found.append(error)

        with self.lane(visit, None, Ticket(run)) as mine:
            if mine:
                self._worker(run)
        put(found[0])

    def _waiting(self, before: int) -> str:
        left = self.left()
        soon = f"; the one that works needs about {in_words(left)} more" if left is not None else ""
        return f"Waiting: {before} before you{soon}."
