"""What an edit did: figures, worst losses, pictures. As JSON, as Markdown, or as one HTML file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from concept_edit.evaluation.intervals import Figure
from concept_edit.evaluation.page import grid, listing, page, paragraph, section, table
from concept_edit.evaluation.pairs import Pair
from concept_edit.evaluation.rows import Row
from concept_edit.files import replace_file


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


def report_sections(report: Report) -> list[str]:
    """The parts of a page that an evaluation fills."""
    head = ("measured", "on", "when", "value", "95 % interval", "n", "by")
    about = [f"{report.rows} pairs of pictures at equal seeds.", f"Share of the rows: {report.share}."]
    about += [f"{kind}: {name}" for kind, name in report.instruments.items()]
    found = [section("Measured", listing(about), table(head, [cells(figure) for figure in report.figures]))]
    shown = {pair.row: pair for pair in report.pictures}
    worst = [(shown[row], what) for row, what in report.worst if row in shown]
    lost = grid([pair for pair, _ in worst], {i: what for i, (_, what) in enumerate(worst)}) if worst else ""
    found.append(section("Worst losses among what should have stayed", lost))
    for group in dict.fromkeys(pair.row.group for pair in report.pictures):
        found.append(section(f"Before and after: {group}", grid([p for p in report.pictures if p.row.group == group])))
    if report.barred:
        found.append(section("Not shown", paragraph(f"Pictures of {', '.join(report.barred)} are barred.")))
    return found


def _finite(plain: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: unknown is null."""
    return {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in plain.items()}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
