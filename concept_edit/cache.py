"""The user's cache folder: what is costly to make and can be made again at any time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = "CONCEPT_EDIT_CACHE"


def cache_folder() -> Path | None:
    """Where things are kept between runs, by the variable `FOLDER` or as the system has it; None where it is empty."""
    given = os.environ.get(FOLDER)
    if given is not None:
        return Path(given).expanduser() if given else None
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "concept_edit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "concept_edit"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "concept_edit"
