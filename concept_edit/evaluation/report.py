"""What an edit did: figures, worst losses, pictures. As JSON, as Markdown, or as one HTML file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from concept_edit.evaluation.folder import RunFolder
from concept_edit.evaluation.intervals import Figure
from concept_edit.evaluation.rows import Row
from concept_edit.files import replace_file
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


@dataclass(frozen=True)
class Report:
    """The outcome of `evaluate`."""

    model: str
    recipe: Mapping[str, Any]
    settings: Mapping[str, Any]
    """What the pictures depend on: model, weights, edit, steps and so on."""
    instruments: Mapping[str, str]
    rows: int
    """Rows measured; each is a pair of pictures."""
    share: str
    """`1-of-1`, or the share of the rows that this report covers."""
    figures: tuple[Figure, ...]
    worst: tuple[tuple[Row, str], ...] = ()
    """Rows that lost most though they should have stayed, and what happened."""
    pictures: tuple[Pair, ...] = field(default=(), repr=False)
    barred: tuple[str, ...] = ()
    """Concepts whose pictures are not shown."""
    toolkit: str = ""

    def figure(self, name: str, group: str, side: str = "after") -> Figure:
        """One figure.

        Raises:
            KeyError: it was not measured; what was is listed.
        """
        for found in self.figures:
            if (found.name, found.group, found.side) == (name, group, side):
                return found
        known = sorted({f"{f.name} / {f.group} / {f.side}" for f in self.figures})
        raise KeyError(f"{name} / {group} / {side} was not measured; there is {', '.join(known) or 'nothing'}")

    def as_dict(self) -> dict[str, Any]:
        """Everything but the pictures as plain data."""
        plain = {name: getattr(self, name) for name in ("model", "recipe", "settings", "instruments", "rows", "share")}
        plain["figures"] = [_finite(asdict(figure)) for figure in self.figures]
        plain["worst"] = [{**asdict(row), "what": what} for row, what in self.worst]
        return plain | {"barred": list(self.barred), "toolkit": self.toolkit}

    def to_markdown(self) -> str:
        """A table of figures, and the worst losses."""
        lines = [f"# What the edit did to {self.model}", "", f"{self.rows} pairs of pictures at equal seeds."]
        lines += ["", "| measured | on | when | value | 95 % interval | n | by |", "|---|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(_cell(text) for text in cells(figure))} |" for figure in self.figures]
        if self.worst:
            lines += ["", "## Worst losses among what should have stayed", ""]
            lines += [f"- {_cell(row.prompt)} (seed {row.seed}): {what}" for row, what in self.worst]
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """One page: no script, no outside request."""
        from concept_edit.evaluation.page import page, report_sections

        return page(f"What the edit did to {self.model}", report_sections(self))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `.json`, `.md` or `.html`, as the name says; the old file stays until the new one is whole.

        Raises:
            ValueError: another ending.
            OSError: the file cannot be written.
        """
        kind = Path(path).suffix.lower()
        if kind == ".json":
            text = json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n"
        elif kind in (".md", ".html", ".htm"):
            text = self.to_markdown() if kind == ".md" else self.to_html()
        else:
            raise ValueError(f"{path}: a report is written as .json, .md or .html")
        replace_file(path, text.encode())


def cells(figure: Figure) -> tuple[str, ...]:
    """A figure as the cells of a table row."""
    interval = f"{figure.low:.3f} to {figure.high:.3f}" if abs(figure.low) < float("inf") else "unknown"
    by = f"{figure.instrument}; {figure.method}"
    return (figure.name, figure.group, figure.side, f"{figure.value:.3f}", interval, str(figure.n), by)


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


def _finite(plain: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: unknown is null."""
    return {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in plain.items()}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
