"""Draws the card's pictures for the home page from the opening example: `python -m ui.fact.pictures`."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from ui.fact.answers import Answer
from ui.fact.board import Row, opening
from ui.workshop.card import PICTURES

_SIDE, _LEFT = 256, 16
_INK, _GREY, _PAPER = "#1e293b", "#475569", "#f8fafc"
_BAR, _NEW = "#4f46e5", "#15803d"
_NEIGHBOURS = 2


def drawn(side: str) -> Image.Image:
    """What the model says, `before` or `after`: of the subject, large, and of two neighbours below it."""
    board = opening()
    picture = Image.new("RGB", (_SIDE, _SIDE), _PAPER)
    pen = ImageDraw.Draw(picture)
    before, _, after = board.fact.prompt.partition("{}")
    pen.text((_LEFT, 12), before.strip(), _GREY, ImageFont.load_default(17))
    pen.text((_LEFT, 32), f"{board.fact.subject}{after}", _INK, ImageFont.load_default(23))
    _answer(pen, board.rows[0], side, top=64, size=30, colour=_NEW if side == "after" else _BAR)
    pen.line((_LEFT, 130, _SIDE - _LEFT, 130), "#cbd5e1")
    near = [row for row in board.rows if row.role == "neighbour"][:_NEIGHBOURS]
    for n, row in enumerate(near):
        top = 138 + n * 57
        pen.text((_LEFT, top), f"{_subject(row, before, after)}{after}", _GREY, ImageFont.load_default(17))
        _answer(pen, row, side, top=top + 19, size=20, colour=_BAR)
    return picture


def _answer(pen: ImageDraw.ImageDraw, row: Row, side: str, *, top: int, size: int, colour: str) -> None:
    """A word, its probability, and a bar as long as that."""
    said = getattr(row, side)
    assert isinstance(said, Answer)
    pen.text((_LEFT, top), said.word, _INK, ImageFont.load_default(size))
    share, small = f"{said.chance:.0%}", ImageFont.load_default(17)
    pen.text((_SIDE - _LEFT - pen.textlength(share, small), top + size * 0.3), share, _GREY, small)
    end = top + size * 1.35
    pen.rectangle((_LEFT, end, _LEFT + said.chance * (_SIDE - 2 * _LEFT), end + size * 0.25), fill=colour)


def _subject(row: Row, before: str, after: str) -> str:
    """Whom a neighbour is about."""
    return row.prompt.removeprefix(before).removesuffix(after)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name in ("before", "after"):
        drawn(name).save(PICTURES / f"fact-{name}.png", optimize=True)
