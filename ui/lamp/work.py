"""What the card does with rooms and marks; the switch is in `switch`. No layout here."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

import styles
from ui.bench.pairs import url_of
from ui.lamp import light as rooms_of
from ui.lamp.canvas import with_result
from ui.lamp.light import Light, light_of
from ui.lamp.marks import SIDE, Picture, enlarged, layer
from ui.lamp.switch import Switched
from ui.workshop.session import EMBEDDED, Visit, Workshop

FIRST = "0-7"
"""Seeds of the rooms that are shown first."""


def opened(workshop: Workshop, visit: Visit, generator: str, seeds: str) -> tuple[list[tuple[Picture, str]], str]:
    """Show rooms; of the embedded ones the brightest lamp is marked at once. Thumbnails with captions, and the canvas.

    Raises:
        ValueError: as `rooms_from`.
    """
    rooms = rooms_of.rooms_from(generator, seeds)
    pictures = rooms_of.show_rooms(workshop, visit, rooms)
    seed = rooms_of.brightest_lamp(rooms.seeds) if rooms.generator == EMBEDDED else rooms.seeds[0]
    return pictures, chosen(workshop, visit, seed)


def chosen(workshop: Workshop, visit: Visit, seed: int) -> str:
    """Put a room on the canvas; an embedded one without a mark has its lamp marked."""
    canvas = rooms_of.canvas_of(workshop, visit, seed)
    light = light_of(visit)
    if light.rooms.generator == EMBEDDED and seed not in light.masks:
        rooms_of.mark_lamp(workshop, visit)
        canvas = rooms_of.canvas_of(workshop, visit, seed)
    return canvas


def result(workshop: Workshop, light: Light, found: Switched) -> str:
    """The canvas with the room going off."""
    room = enlarged(found.frames[0], SIDE)
    mark = layer(light.masks[found.seed]) if found.seed in light.masks else None
    value = with_result(room, mark, found.frames, found.said)
    light.shown = (json.loads(value)["mark"], found.verdict)
    return value


def stale(light: Light, canvas: str, few: bool) -> bool:
    """Whether mark or wish are others than those of the result that is shown."""
    if light.shown is None or not canvas:
        return False
    try:
        mark = json.loads(canvas).get("mark", "")
    except (ValueError, AttributeError):
        return False
    return bool(mark != light.shown[0] or few != light.few)


def strip(found: Sequence[tuple[int, Picture, Picture]]) -> str:
    """Other rooms, on above off."""
    columns = "".join(
        f'<figure><img alt="room {seed}, on" src="{url_of(on)}"><img alt="room {seed}, off" src="{url_of(off)}">'
        f"<figcaption>room {seed}</figcaption></figure>"
        for seed, on, off in found
    )
    return f'<div class="film others" role="group" aria-label="Other rooms: on above, off below">{columns}</div>'


def neurons(workshop: Workshop, visit: Visit, count: int = 12) -> str:
    """The units of the last ranking that darken the mark and leave the rest: number, scores and picture of each."""
    light = light_of(visit)
    assert light.ranking is not None
    model = workshop.generator(light.rooms.generator)
    seed = light.at if light.at in light.ranked else light.ranked[0]
    w = rooms_of.latents(model, light.rooms, [seed])
    base = model.synthesize(w)
    lines = []
    for number, row in enumerate(light.ranking.top(count, by="darkens"), 1):
        visit.check()
        off, _ = styles.unit_pictures(model, w, row, mode=light.ranking.mode, base=base)
        name = html.escape(f"{row.layer}:{row.channel}")
        lines.append(
            f'<li><img alt="the room with neuron {name} switched off" src="{url_of(off)}"><div><b>{number}. {name}</b>'
            f"<span>the mark {row.d_luma:+.3f}, elsewhere {row.out_mean:.3f}</span></div></li>"
        )
    return f'<ol class="neurons">{"".join(lines)}</ol>'
