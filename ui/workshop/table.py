"""The concept table and the recipe it stands for: rows of text on the page, a `Recipe` behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from concept_edit.recipe import Debias, Erase, Moderate, Recipe, Steer, explain, normal

HEAD = ("change", "concept", "instead", "weight", "wordings")
"""Columns: what to do, the word or phrase, what to paint instead (or the shares), weight, further prompts by ';'."""
CHANGES = ("erase", "moderate", "balance", "steer", "keep")
MOST_ROWS = 2000
"""Rows the page takes; longer lists are for the command line."""

AnyEdit = Erase | Moderate | Debias | Steer


def rows_of(recipe: Recipe) -> list[list[str]]:
    """A recipe's concepts as rows; what it keeps stands apart."""
    return [_row(edit) for edit in recipe.edits]


def _row(edit: AnyEdit) -> list[str]:
    weight, wordings = f"{edit.weight:g}", "; ".join(edit.wordings)
    if isinstance(edit, Debias):
        shares = ", ".join(f"{name} {100 * share:g} %" for name, share in edit.across.items())
        return ["balance", edit.concept, shares, weight, wordings]
    if isinstance(edit, Steer):
        return ["steer", edit.concept, "; ".join(part for part in (edit.towards, edit.away) if part), weight, wordings]
    if isinstance(edit, Erase):
        return ["erase", edit.concept, edit.guide, weight, wordings]
    return ["moderate", edit.concept, "", weight, wordings]


def recipe_of(rows: Sequence[Sequence[Any]], keep: str, settings: Mapping[str, Any], base: Recipe) -> Recipe:
    """The recipe the page shows: rows, kept prompts one a line, settings.

    What the page has no field for (a measured aim, a phrase) is taken from `base`, the recipe last loaded or solved.

    Raises:
        ValueError: a row that says nothing the recipe understands; the row is named.
    """
    filled = [row for row in map(_texts, rows) if any(row[1:3])]
    if len(filled) > MOST_ROWS:
        raise ValueError(f"the table has {len(filled)} rows and takes {MOST_ROWS}; use the command line for more")
    known = {normal(edit.concept): edit for edit in base.edits}
    edits, kept = [], [line.strip() for line in keep.splitlines() if line.strip()]
    for number, row in enumerate(filled, 1):
        try:
            if row[0] == "keep":
                kept.append(row[1])
            else:
                edits.append(_edit(row, known.get(normal(row[1]))))
        except ValueError as error:
            reason = explain(error) if isinstance(error, ValidationError) else error
            raise ValueError(f"row {number}: {reason}") from error
    fields = {name: getattr(base, name) for name in type(base).model_fields}
    return Recipe(**fields | dict(settings) | {"edits": tuple(edits), "preserve": _once(kept)})


def _texts(row: Sequence[Any]) -> list[str]:
    cells = ["" if cell is None or cell != cell else str(cell).strip() for cell in row]
    cells += [""] * (len(HEAD) - len(cells))
    return [(cells[0] or "erase").lower(), *cells[1 : len(HEAD)]]


def _edit(row: Sequence[str], known: AnyEdit | None) -> AnyEdit:
    change, concept, instead, weight, wordings = row
    heavy, more = _number(weight), tuple(part.strip() for part in wordings.split(";") if part.strip())
    if change == "erase":
        return Erase(concept, guide=instead, weight=heavy, wordings=more)
    if change == "moderate":
        return Moderate(concept, weight=heavy, wordings=more)
    if change == "balance":
        across = shares_of(instead)
        if isinstance(known, Debias) and known.across == across:
            aims = known.aims if known.wordings == more else None
            return replace(known, weight=heavy, wordings=more, aims=aims)
        return Debias(concept, across=across, weight=heavy, wordings=more)
    if change == "steer":
        towards, _, away = (part.strip() for part in instead.partition(";"))
        if isinstance(known, Steer) and known.concept == concept:
            return replace(known, towards=towards, away=away, weight=heavy, wordings=more)
        return Steer(concept, towards=towards, away=away, weight=heavy, wordings=more)
    raise ValueError(f"'{change}' is no change; write {', '.join(CHANGES[:-1])} or {CHANGES[-1]}")


def _number(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError as error:
        raise ValueError(f"the weight '{text}' is no number; 1 is usual") from error


def shares_of(text: str) -> dict[str, float]:
    """'man 50 %, woman 50 %' or 'man=0.5; woman=0.5' or 'man, woman' as attribute -> share.

    Raises:
        ValueError: fewer than two attributes, or a share that is no number.
    """
    parts = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
    if len(parts) < 2:
        raise ValueError(f"'{text}' names no shares; write for example: man 50 %, woman 50 %")
    pairs = [_share(part) for part in parts]
    if all(share is None for _, share in pairs):
        return {name: 1 / len(pairs) for name, _ in pairs}
    if any(share is None for _, share in pairs):
        raise ValueError(f"'{text}' gives some attributes no share; write for example: man 50 %, woman 50 %")
    return {name: float(share or 0) for name, share in pairs}


def _share(part: str) -> tuple[str, float | None]:
    """'man 50 %', 'man=0.5' or 'man'."""
    words = part.replace("%", " ").replace("=", " ").replace(":", " ").split()
    try:
        number = float(words[-1])
    except ValueError:
        return " ".join(words), None
    return " ".join(words[:-1]), number / 100 if number > 1 or "%" in part else number


def _once(prompts: Sequence[str]) -> tuple[str, ...]:
    return tuple({normal(prompt): prompt for prompt in reversed(prompts)}.values())[::-1]
