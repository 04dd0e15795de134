"""Many concepts at once: names with guides, a text file of them, or a CSV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from concept_edit.asked.items import Erase
from concept_edit.asked.written import explain
from concept_edit.reading.lists import csv_table, named
from concept_edit.reading.plain import read_text, sentence


def pair_up(
    concepts: Sequence[str], guides: Sequence[str] = ("",), *, wordings: Sequence[str] = (), weight: float = 1.0
) -> tuple[Erase, ...]:
    """One `Erase` per concept; a single guide serves them all.

    Raises:
        ValueError: neither one guide nor as many as there are concepts.
    """
    if len(guides) not in (1, len(concepts)):
        raise ValueError(f"{len(guides)} guides for {len(concepts)} concepts; give one guide, or one for each concept")
    paired = zip(concepts, guides if len(guides) > 1 else tuple(guides) * len(concepts), strict=True)
    return tuple(Erase(c, guide=g.strip(), weight=weight, wordings=tuple(wordings)) for c, g in paired)


def read_concepts(path: str | os.PathLike[str], *, guide: str = "", wordings: Sequence[str] = ()) -> tuple[Erase, ...]:
    """Concepts from a text file, one a line, or from a CSV with a `concept` column and maybe `guide` and `weight`.

    `guide` and `wordings` serve the rows that name none.

    Raises:
        ValueError: no concept in it, too large, no text, or a CSV without the column; file and line are named.
        OSError: the file cannot be read.
    """
    text = read_text(path)
    if Path(path).suffix.lower() != ".csv":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        edits = pair_up(lines, (guide,), wordings=wordings)
    else:
        edits = tuple(_csv_edits(text, Path(path).name, guide, tuple(wordings)))
    if not edits:
        raise ValueError(f"{path} names no concept; write one a line, or a CSV with a 'concept' column")
    return edits


def _csv_edits(text: str, name: str, guide: str, wordings: tuple[str, ...]) -> Iterable[Erase]:
    columns, rows = csv_table(text, name)
    if "concept" not in columns:
        raise ValueError(f"{name}: expected a 'concept' column, found {named(columns)}")
    for line, row in rows:
        try:
            weight = float(row.get("weight") or 1.0)
            yield Erase(row["concept"], guide=row.get("guide") or guide, weight=weight, wordings=wordings)
        except ValueError as error:
            reason = explain(error) if isinstance(error, ValidationError) else sentence(error)
            raise ValueError(f"{name}, line {line}: {reason}") from error
