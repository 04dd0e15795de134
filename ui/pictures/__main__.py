"""Paint every card's example: `python -m ui.pictures [CARD ...]`."""

from __future__ import annotations

import sys
from typing import Any

from PIL import Image, ImageChops, ImageStat

from ui.balance.events import wish_of as balance
from ui.bench import work
from ui.bench.cells import Cell
from ui.pictures import boards
from ui.slide.events import wish_of as slide
from ui.slide.work import judged
from ui.style.events import wish_of as style
from ui.suppress.events import wish_of as suppress
from ui.suppress.layout import EXAMPLE
from ui.workshop.card import PICTURES
from ui.workshop.session import Visit, Workshop

_TILE = 256
WISHES: dict[str, tuple[Any, float, Any]] = {
    "style": (lambda visit: style("Twemoji", "", "", "", 1, 0), 1.0, None),
    "suppress": (lambda visit: suppress(EXAMPLE, "", "", 1, 0), 1.0, None),
    "balance": (lambda visit: balance(visit, "farmer", "man 50 %, woman 50 %", 24, 24, 0)[0], 1.0, None),
    "slide": (lambda visit: slide("doctor", "woman doctor", "man doctor", "", "", 1, 0), 1.5, judged),
}
"""Card -> what its fields ask for as it opens, at which strength, judged how."""


def _change(cell: Cell) -> float:
    """How much the picture changed to the eye."""
    assert cell.before is not None
    assert cell.after is not None
    return sum(ImageStat.Stat(ImageChops.difference(cell.before, cell.after)).mean)


def main() -> None:
    """Paint and write."""
    workshop = Workshop()
    for card in sys.argv[1:] or WISHES:
        wish, strength, judging = WISHES[card]
        visit = Visit()
        *_, last = work.solve(workshop, visit, card, wish(visit), strength, judging)
        boards.save(card, last.value)
        cell = max((c for c in last.value.cells if c.role == "word"), key=_change)
        for side in ("before", "after"):
            picture = getattr(cell, side).resize((_TILE, _TILE), Image.Resampling.BICUBIC)
            picture.quantize(128).save(PICTURES / f"{card}-{side}.png", optimize=True)
        print(f"{card}: {last.value.verdict.sentence}", file=sys.stderr)
        visit.close()


if __name__ == "__main__":
    main()
