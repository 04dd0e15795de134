"""Pictures before and after, as a report carries them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from concept_edit.evaluation.folder import RunFolder
from concept_edit.evaluation.rows import Row
from concept_edit.recipe import Moderate, Recipe, normal

_SHOWN = 12
"""Pairs of pictures shown of each group."""


@dataclass(frozen=True)
class Pair:
    """Pictures of one row before and after, as PNG."""

    row: Row
    before: bytes
    after: bytes
    blurred: bool
    """Whether a page hides it until it is clicked: pictures of moderated concepts."""


def picture_pairs(folder: RunFolder, rows: Sequence[Row], worst: Sequence[Row], recipe: Recipe) -> tuple[Pair, ...]:
    """The first rows of each group and the worst losses, with their pictures."""
    taken: dict[Row, None] = {}
    for group in dict.fromkeys(row.group for row in rows):
        taken |= dict.fromkeys([row for row in rows if row.group == group][:_SHOWN])
    moderated = {normal(edit.concept) for edit in recipe.edits if isinstance(edit, Moderate)}
    found = []
    for row in [*taken, *(row for row in worst if row not in taken)]:
        before, after = folder.load("before", row), folder.load("after", row)
        if before is not None and after is not None:
            found.append(Pair(row, _png(before), _png(after), normal(row.subject) in moderated))
    return tuple(found)


def _png(image: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
