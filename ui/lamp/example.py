"""What the card shows as it opens: the first rooms and the brightest lamp, marked and switched off. `python -m
ui.lamp.example` paints it anew."""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from ui.lamp.marks import Picture
from ui.workshop.card import PICTURES

FILE = PICTURES / "lamp.json"
_TILE = 256


@dataclass(frozen=True)
class Example:
    """The card's first view."""

    rooms: list[tuple[Picture, str]]
    canvas: str
    verdict: str


def load() -> Example:
    """From the file that ships; empty where it does not."""
    if not FILE.is_file():
        return Example([], "", "")
    told = json.loads(FILE.read_text())
    rooms = [(Image.open(BytesIO(b64decode(data))).convert("RGB"), name) for data, name in told["rooms"]]
    return Example(rooms, told["canvas"], told["verdict"])


def main() -> None:
    """Paint and write."""
    from ui.lamp import switch, work
    from ui.lamp.light import light_of
    from ui.workshop.session import EMBEDDED, Visit, Workshop

    workshop, visit = Workshop(), Visit()
    rooms, _ = work.opened(workshop, visit, EMBEDDED, work.FIRST)
    found = switch.solve(workshop, visit, False, lambda news: None)
    told = {
        "rooms": [(_text(picture), name) for picture, name in rooms],
        "canvas": work.result(workshop, light_of(visit), found),
        "verdict": found.verdict.html(),
    }
    FILE.write_text(json.dumps(told) + "\n")
    for side, frame in (("before", found.frames[0]), ("after", found.frames[-1])):
        large = frame.resize((_TILE, _TILE), Image.Resampling.BICUBIC)
        large.quantize(128).save(PICTURES / f"lamp-{side}.png", optimize=True)
    sys.stderr.write(f"{found.verdict.sentence}\n")
    visit.close()


def _text(picture: Picture) -> str:
    buffer = BytesIO()
    picture.save(buffer, "WEBP", quality=85)
    return b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main()
