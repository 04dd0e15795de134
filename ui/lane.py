"""One lane of heavy work: jobs run one at a time, in the order they came, and tell how far they are."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ui.visit import Visit

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


class Lane:
    """A fair lock with a waiting line that everybody sees."""

    def __init__(self) -> None:
        self._line: deque[object] = deque()
        self._turn = threading.Condition()
        self._worker = Worker()

    @contextmanager
    def lane(self, visit: Visit, waiting: Callable[[int], None] | None = None) -> Iterator[None]:
        """The right to use the device: one visitor at a time, in the order they came.

        `waiting(before)` is told how many are before this visitor whenever that changes.

        Raises:
            Stopped: cancel was pressed while waiting.
        """
        ticket, told = object(), -1
        with self._turn:
            self._line.append(ticket)
        try:
            while (before := self._before(ticket)) > 0:
                if before != told and waiting is not None:
                    waiting(before)
                told = before
                visit.check()
                with self._turn:
                    self._turn.wait(_LOOK)
            visit.check()
            yield
        finally:
            with self._turn:
                self._line.remove(ticket)
                self._turn.notify_all()

    def _before(self, ticket: object) -> int:
        with self._turn:
            return self._line.index(ticket)

    def work(self, visit: Visit, job: Callable[[Tell], Any]) -> Iterator[News]:
        """Run `job(tell)` in the lane, on the lane's own thread, and give its news as they come.

        The last news has `done` and the job's result as `value`. An error of the job is raised here. A caller that
        goes away leaves nothing locked: the job ends by itself, or at its next step after `visit.stop`.

        Raises:
            BusyError: another job of this visit still runs.
            Stopped: cancel was pressed.
        """
        visit._begin()
        news: queue.SimpleQueue[News | BaseException] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(visit, job, news.put), name="job", daemon=True).start()
        told = 0.0
        while True:
            item = news.get()
            if isinstance(item, BaseException):
                raise item
            if item.done or item.value is not None or item.share is None or time.monotonic() - told > _PAUSE:
                told = time.monotonic()
                yield item
            if item.done:
                return

    def _run(self, visit: Visit, job: Callable[[Tell], Any], put: Callable[[News | BaseException], None]) -> None:
        last: News | BaseException
        try:
            with self.lane(visit, lambda before: put(News(f"Waiting: {before} before you."))):
                last = News(value=self._worker(lambda: job(put)), done=True)
        except BaseException as error:
            last = error
        visit._end()
        put(last)
