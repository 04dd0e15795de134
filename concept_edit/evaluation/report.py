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
    made: str = ""
    """When it was measured, as an ISO date with time."""
    known: tuple[tuple[str, str, str], ...] = ()
    """Of each changed concept whether the model knows the word: the word, the verdict and the sentence of
    `concept_edit.familiar`."""

    def sentences(self) -> list[str]:
        """What the figures say, in words."""
        known = {(figure.name, figure.group, figure.side): figure for figure in self.figures}
        said = []
        for group, sentence in _SENTENCES:
            before, after = (known.get(("named as its concept", group, side)) for side in ("before", "after"))
            if before and after:
                said.append(sentence.format(before=_share(before), after=_share(after)))
        return said or ["This model has no judge of its own here, so only the likeness of pictures was measured."]

    def words(self) -> list[tuple[str, Figure, Figure]]:
        """Of each changed concept: how often its prompts show it, before and after."""
        known = {(figure.group, figure.side): figure for figure in self.figures if figure.name == _ASKED}
        names = dict.fromkeys(group for group, _ in known)
        return [(name, known[name, "before"], known[name, "after"]) for name in names]

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
        plain |= {"made": self.made, "sentences": self.sentences()}
        plain["known"] = [{"word": word, "verdict": verdict, "sentence": told} for word, verdict, told in self.known]
        plain["worst"] = [{**asdict(row), "what": what} for row, what in self.worst]
        return plain | {"barred": list(self.barred), "toolkit": self.toolkit}

    def to_markdown(self) -> str:
        """A table of figures, and the worst losses."""
        lines = [f"# What the edit did to {self.model}", "", f"{self.rows} pairs of pictures at equal seeds."]
        lines += ["", *self.sentences()]
        lines += ["", "| measured | on | when | value | 95 % interval | n | by |", "|---|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(_cell(text) for text in cells(figure))} |" for figure in self.figures]
        if self.known:
            lines += ["", "## What the model knows of the words", ""]
            lines += [f"- {_cell(told)}" for _, _, told in self.known]
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
    about = [f"{report.rows} pairs of pictures at equal seeds."]
    about += [f"Share of the rows: {report.share}."] if report.share != "1-of-1" else []
    about += [f"{kind}: {name}" for kind, name in report.instruments.items()]
    found = [section("In words", listing(report.sentences())), *_by_word(report)]
    found.append(section("What the model knows of the words", listing([told for _, _, told in report.known])))
    found.append(_asked(report))
    found += [section("Measured", listing(about), table(head, [cells(figure) for figure in report.figures]))]
    shown = {pair.row: pair for pair in report.pictures}
    worst = [(shown[row], what) for row, what in report.worst if row in shown]
    lost = grid([pair for pair, _ in worst], {i: what for i, (_, what) in enumerate(worst)}) if worst else ""
    found.append(section("Worst losses among what should have stayed", lost))
    for group in dict.fromkeys(pair.row.group for pair in report.pictures):
        found.append(section(f"Before and after: {group}", grid([p for p in report.pictures if p.row.group == group])))
    if report.barred:
        found.append(section("Not shown", paragraph(f"Pictures of {', '.join(report.barred)} are barred.")))
    return found


_ASKED = "shown when asked for"
_SENTENCES = (
    ("edited", "Prompts of what was edited still show it in {after} of the pictures; before it was {before}."),
    ("near", "Its neighbours show what they should in {after}; before it was {before}."),
    ("unrelated", "Unrelated prompts show what they should in {after}; before it was {before}."),
)


def _share(figure: Figure) -> str:
    return f"{figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%})"


def _by_word(report: Report) -> list[str]:
    rows = [(name, _share(before), _share(after), str(after.n)) for name, before, after in report.words()]
    head = ("asked for", "shown before (95 % interval)", "shown after (95 % interval)", "pictures")
    return [section("Word by word", table(head, rows))] if rows else []


def _asked(report: Report) -> str:
    """Recipe, model, strength, date and digest: what somebody else needs to have the same."""
    after = report.settings.get("after", {})
    facts = [
        f"model: {report.model}",
        f"strength: {after.get('strength', 1)}",
        f"edit (digest): {after.get('edit', '')}",
    ]
    facts += [f"measured: {report.made}"] if report.made else []
    facts += [f"toolkit: {report.toolkit}"] if report.toolkit else []
    recipe = json.dumps(report.recipe, ensure_ascii=False)
    return section("What was asked", listing([*facts, f"recipe: {recipe}"]))


def _finite(plain: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: unknown is null."""
    return {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in plain.items()}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
