"""What can go wrong on a page, said in one sentence."""

from __future__ import annotations

import gc
import logging
import re
from pathlib import Path

from pydantic import ValidationError

from concept_edit.recipe import explain

_log = logging.getLogger("ui")


class Stopped(Exception):  # noqa: N818
    """The visitor pressed cancel, or left."""


class BusyError(ValueError):
    """A visitor asked for a second job while the first still runs."""


def say(error: BaseException) -> str:
    """One sentence for the page about any error. What was not foreseen goes to the server's log with its traceback."""
    if isinstance(error, Stopped):
        return "Stopped."
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        free_memory()
        return (
            "The device ran out of memory. Try fewer pictures at once, a smaller model, half precision or CPU offload "
            "(under Device). The app goes on."
        )
    if isinstance(error, ValidationError):
        return _sentence(explain(error))
    if isinstance(error, OSError) and error.strerror:
        return _sentence(f"{error.strerror}: {Path(str(error.filename)).name}" if error.filename else error.strerror)
    if isinstance(error, ValueError | OSError):
        return _sentence(str(error))
    _log.error("unforeseen", exc_info=error)
    return f"Something went wrong that was not foreseen ({type(error).__name__}); the server's log tells more."


def _sentence(text: str) -> str:
    """Without the server's folders, with a capital and a full stop."""
    short = re.sub(r"(?<![\w.:/])/(?:[^\s/'\"]+/)+", "", " ".join(text.split()))
    return (short[:1].upper() + short[1:]).rstrip(". ") + "."


def free_memory() -> None:
    """Give freed memory back to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
