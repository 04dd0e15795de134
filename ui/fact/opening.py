"""Makes `opening.json`, the example that the card opens with: `python -m ui.fact.opening`."""

from __future__ import annotations

import json
from dataclasses import replace

from ui.fact.board import OPENING, Board, Desk
from ui.fact.wish import wish_of
from ui.fact.work import change
from ui.fact.world import examples
from ui.workshop.session import EMBEDDED, Visit, Workshop


def fields() -> tuple[str, str, str, str, str]:
    """Model, sentence, subject, old and new answer."""
    first = examples(EMBEDDED)[0]
    return EMBEDDED, first.asked, first.subject, first.old, first.new


def made(workshop: Workshop) -> Board:
    """The example, traced and rewritten now."""
    visit = Visit()
    visit.benches["fact"] = Desk([], 0)
    *_, last = change(workshop, visit, wish_of(*fields()))
    visit.close()
    board: Board = last.value
    return replace(board, edit=None)


if __name__ == "__main__":
    OPENING.write_text(json.dumps(made(Workshop()).plain(), ensure_ascii=False), encoding="utf-8")
