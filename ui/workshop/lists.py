"""Lists a visitor pastes or drops: names one a line, a CSV, or a recipe."""

from __future__ import annotations

from pathlib import Path

from concept_edit.recipe import Recipe, read_concepts
from ui.workshop.session import Visit
from ui.workshop.table import MOST_ROWS

KINDS = (".csv", ".txt", ".yaml", ".yml")
MOST_BYTES = 1_000_000


def read_list(visit: Visit, text: str, path: str | None) -> Recipe:
    """The recipe in a dropped file, or else in pasted text.

    Raises:
        ValueError: nothing given, a file of another kind, too long, or what the recipe says about its content.
    """
    if path:
        return _read(Path(path))
    if not text.strip():
        raise ValueError("paste names, one a line, or drop a file; then press the button again")
    pasted = visit.folder / f"pasted{_kind(text)}"
    pasted.write_text(text, encoding="utf-8")
    try:
        return _read(pasted)
    finally:
        pasted.unlink(missing_ok=True)


def _kind(text: str) -> str:
    first = next(line for line in text.splitlines() if line.strip())
    if any(line.startswith(("edits:", "preserve:")) for line in text.splitlines()):
        return ".yaml"
    return ".csv" if "," in first and "concept" in [cell.strip() for cell in first.split(",")] else ".txt"


def _read(path: Path) -> Recipe:
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise ValueError(f"{path.name} is a {kind or 'file without an ending'}; drop one of {', '.join(KINDS)}")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path.name} has {size / 1e6:.1f} MB and the page reads up to {MOST_BYTES / 1e6:.0f} MB")
    recipe = Recipe.load(path) if kind in (".yaml", ".yml") else Recipe(edits=read_concepts(path))
    rows = len(recipe.edits)
    if rows > MOST_ROWS:
        raise ValueError(
            f"{path.name} names {rows} concepts and the page takes {MOST_ROWS}; longer lists are for the command line "
            "(concept-edit erase --concepts-file)"
        )
    return recipe


def lines_of(text: str | None) -> list[str]:
    """The lines that say something, each once."""
    return list(dict.fromkeys(line.strip() for line in (text or "").splitlines() if line.strip()))
