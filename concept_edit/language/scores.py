"""What was measured of an edit, and scores of one or several edits as text, Markdown, JSON or a page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concept_edit.evaluation.page import page, section
from concept_edit.evaluation.page import table as html_table
from concept_edit.files import replace_file
from concept_edit.language.facts import Fact

NAMES = ("S", "ES", "PS", "NS", "EM", "PM", "NM", "accuracy", "GE", "RS", "essence")
_MEANS = {
    "S": "harmonic mean of ES, PS, NS",
    "ES": "the new answer beats the old one",
    "PS": "also when asked otherwise",
    "NS": "neighbours keep theirs",
    "accuracy": "the new answer is what it says",
    "GE": "entropy of what it goes on to say",
    "RS": "likeness to texts about the new answer",
    "essence": "perplexity on texts about the subject",
}


@dataclass(frozen=True)
class FactRow:
    """One fact's measures; NaN for what it has no prompts for."""

    fact: Fact
    values: Mapping[str, float]
    """Name of the measure -> value; shares from 0 to 1."""


@dataclass(frozen=True)
class Measure:
    """One measure over all facts, in percent where it is a share or a probability."""

    name: str
    value: float
    low: float
    high: float
    """Ends of the 95 % interval over facts."""
    n: int
    """Facts that entered."""


@dataclass(frozen=True)
class FactScores:
    """Measures of one edit; made by `measure_facts`."""

    label: str
    measures: tuple[Measure, ...]
    rows: tuple[FactRow, ...]

    def __getitem__(self, name: str) -> Measure:
        for measure in self.measures:
            if measure.name == name:
                return measure
        raise ValueError(f"{name!r} was not measured; there are {', '.join(m.name for m in self.measures)}")

    def __str__(self) -> str:
        return as_text([self])

    def markdown(self) -> str:
        """A Markdown table of one row."""
        return as_markdown([self])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .html, .json, .md or, for any other ending, text."""
        save_scores([self], path)


def as_text(scores: Sequence[FactScores]) -> str:
    """Columns for a terminal: a row for each edit, value and interval."""
    return "\n".join("  ".join(cells) for cells in _aligned(_cells(scores)))


def as_markdown(scores: Sequence[FactScores]) -> str:
    """A Markdown table."""
    head, *rows = _cells(scores)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def as_json(scores: Sequence[FactScores]) -> str:
    """Everything, with each fact's row; what was not measured is null."""
    plain = [
        {
            "edit": each.label,
            "measures": {m.name: {"value": m.value, "low": m.low, "high": m.high, "n": m.n} for m in each.measures},
            "facts": [{"fact": row.fact.told, **row.values} for row in each.rows],
        }
        for each in scores
    ]
    return json.dumps(_finite(plain), ensure_ascii=False, indent=1)


def as_html(scores: Sequence[FactScores], title: str = "Facts measured") -> str:
    """One page without outside requests: the table, what its columns mean, and each fact's row."""
    head, *rows = _cells(scores)
    parts = [section("Measures, with 95 % intervals", html_table(head, rows))]
    parts.append(section("What they mean", html_table(("measure", "is"), list(_MEANS.items()))))
    for each in scores:
        names = [name for name in NAMES[1:] if any(name in row.values for row in each.rows)]
        facts = [[row.fact.told, *(_number(row.values.get(name, math.nan)) for name in names)] for row in each.rows]
        parts.append(section(f"Each fact: {each.label}", html_table(("fact", *names), facts)))
    return page(title, parts)


def save_scores(scores: Sequence[FactScores], path: str | os.PathLike[str]) -> None:
    """Write .html, .json, .md or, for any other ending, text.

    Raises:
        OSError: the file cannot be written.
    """
    made = {".html": as_html, ".json": as_json, ".md": as_markdown}.get(Path(path).suffix.lower(), as_text)
    replace_file(path, made(scores).encode())


def _cells(scores: Sequence[FactScores]) -> list[list[str]]:
    names = [name for name in NAMES if any(m.name == name for each in scores for m in each.measures)]
    rows = [["edit", *names, "facts"]]
    for each in scores:
        held = {measure.name: measure for measure in each.measures}
        rows.append([each.label, *(_cell(held.get(name)) for name in names), str(len(each.rows))])
    return rows


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return "–"
    if not math.isfinite(measure.low):
        return f"{measure.value:.1f}"
    return f"{measure.value:.1f} ({measure.low:.1f}–{measure.high:.1f})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value
