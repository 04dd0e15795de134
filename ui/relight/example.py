"""What the card shows as it opens: a rendered room with its lamps off. `python -m ui.relight.example` paints it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from PIL import Image

from ui.workshop.card import PICTURES

FILE = PICTURES / "relight.json"
_TILE = 256


@dataclass(frozen=True)
class Example:
    """The card's first view."""

    canvas: str
    after: str
    verdict: str


def load() -> Example:
    """From the file that ships; empty where it does not."""
    if not FILE.is_file():
        return Example("", "", "")
    return Example(**json.loads(FILE.read_text()))


def main() -> None:
    """Paint and write."""
    from ui.relight import work
    from ui.workshop.session import Visit, Workshop

    workshop, visit = Workshop(), Visit()
    canvas = work.canvas_of(visit)
    found = work.relit(workshop, visit, work.wish_of(0.0, work.ALL, canvas))
    told = {"canvas": canvas, "after": work.as_html(found), "verdict": found.verdict.html()}
    FILE.write_text(json.dumps(told) + "\n")
    for side, picture in (("before", found.before), ("after", found.after)):
        small = picture.resize((_TILE, _TILE), Image.Resampling.LANCZOS)
        small.quantize(128).save(PICTURES / f"relight-{side}.png", optimize=True)
    sys.stderr.write(f"{found.verdict.sentence}\n")
    visit.close()


if __name__ == "__main__":
    main()
