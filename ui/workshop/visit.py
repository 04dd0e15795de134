"""What belongs to one browser session."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from concept_edit.recipe import Recipe
from ui.workshop.errors import BusyError, Stopped
from ui.workshop.versions import Versions

if TYPE_CHECKING:
    from concept_edit.edit import Edit

EMBEDDED = "demo"


def _no_pause() -> None:
    """Outside the lane nobody waits."""


class Visit:
    """What belongs to one browser session. Lives in a `gr.State`, whose deep copies are fresh visits."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(24)
        """Known to this visit's page alone; its models are sent under it."""
        self.own: dict[str, Path] = {}
        """The visitor's own models: a name nobody can guess -> file."""
        self.stop = threading.Event()
        """Set by cancel; every denoising and ranking step looks at it."""
        self.left: float | None = None
        """Seconds until the running job is done, estimated; None where nobody knows."""
        self.unwanted = False
        """An errand's button was pressed while its job ran: the press that follows stops it."""
        self.closed = False
        self.model = EMBEDDED
        """Name of the model this visitor edits."""
        self.edits: Versions = Versions()
        """Solved edits, with undo and redo."""
        self.base = Recipe()
        """The recipe last loaded or solved: what the page has no field for is kept in it."""
        self.solved: tuple[Any, Edit] | None = None
        """The last solve and what it was solved for, so that a prediction and its solve are one."""
        self.pictures: OrderedDict[Any, Any] = OrderedDict()
        """Painted pictures by what they were painted with."""
        self.compared: tuple[Any, ...] = ()
        """The pairs the Compare tab painted last."""
        self.light: Any = None
        """Whatever the Light tab keeps."""
        self.benches: dict[str, Any] = {}
        """What each errand on an image model keeps, by its card's name."""
        self.audit: Any = None
        """Whatever the Audit tab keeps."""
        self.breathe: Callable[[], None] = _no_pause
        """Called between two pictures of a job: the lane runs the light jobs that wait. No weights are changed then."""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._job = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Visit:
        return Visit()

    @property
    def folder(self) -> Path:
        """A temporary folder of this visit alone; gone when the visit is."""
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="concept-edit-visit-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)

    @property
    def busy(self) -> bool:
        """Whether a job of this visit waits or runs."""
        return self._job.locked()

    def cancel(self) -> None:
        """Stop the running job at its next step."""
        self.stop.set()

    def leave(self) -> None:
        """The page was closed: stop the work. What was solved stays a while, should the connection come back."""
        self.cancel()
        self.pictures.clear()
        self.compared = ()

    def close(self) -> None:
        """Stop the work and remove what the visit kept."""
        self.closed = True
        self.stop.set()
        self.pictures.clear()
        self.compared, self.solved, self.light, self.audit = (), None, None, None
        self.benches.clear()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def check(self) -> None:
        """Raise `Stopped` when cancel was pressed."""
        if self.stop.is_set():
            raise Stopped

    def _begin(self) -> None:
        if not self._job.acquire(blocking=False):
            raise BusyError("your last job still runs; wait for it or cancel it first")
        if not self.closed:
            self.stop.clear()

    def _end(self) -> None:
        self._job.release()
