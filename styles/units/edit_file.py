"""The small JSON file of a unit edit: what it may hold, and reading it whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from styles.reading import checked, parse_json, read_text

FORMAT = "styles.unit-edit/1"
MOST_UNITS = 100_000
"""Rows of an edit; a 1,024 px generator has 9,088 units."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class UnitRow(_Strict):
    """One unit and what is done to it."""

    layer: Annotated[str, Field(max_length=100)]
    channel: Annotated[int, Field(ge=0, le=65536)]
    value: float


class UnitEditFile(_Strict):
    """A whole file."""

    format: Literal["styles.unit-edit/1"]
    how: Literal["set", "shift", "scale", "sigma"]
    mode: Literal["style", "feature"]
    note: Annotated[str, Field(max_length=100_000)] = ""
    measured: Annotated[dict[str, float], Field(max_length=1000)] = {}
    units: Annotated[list[UnitRow], Field(min_length=1, max_length=MOST_UNITS)]


def read_unit_edit(path: str | os.PathLike[str]) -> UnitEditFile:
    """What a file of a unit edit holds.

    Raises:
        ValueError: too large, not JSON, another file, a unit or a number that cannot be.
        OSError: there is no such file, or it cannot be read.
    """
    name = Path(path).name
    try:
        found: Any = parse_json(read_text(path), "it")
    except ValueError as error:
        raise ValueError(f"{name} is no unit edit: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{name} is no unit edit: expected a file of format {FORMAT!r}.")
    if found.get("units") == []:
        raise ValueError(f"{name} holds no units.")
    return checked(UnitEditFile, found, f"{name} is no whole unit edit")
