"""Relighting without the page: a photograph is opened, seen relit at the size of the page, and written at its own."""

from __future__ import annotations

import html
import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

import styles
from styles.pictures import save_picture
from styles.relighting.photo import seen_at
from styles.relighting.photographs import open_photo
from ui.bench.pairs import shot, url_of
from ui.bench.verdict import Verdict
from ui.lamp.marks import painted
from ui.lamp.painter import held
from ui.workshop.session import News, Tell, Visit, Workshop

if TYPE_CHECKING:
    Picture = Image.Image

CARD = "relight"
ALL, ONE = "All lamps", "Only what I paint"
SHOWN = 1024
"""Longer side, in pixels, of what the page shows of a photograph."""
CANVAS = 512
"""Longer side of the canvas that a mark is painted on."""
_SEEN = 0.01
"""A mean change of brightness, of 0 to 1, below which nothing is said to have changed."""
_JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Wish:
    """What is asked of a photograph."""

    fraction: float
    mask: Float[torch.Tensor, "h w"] | None
    """The painted place; None where all lamps are meant."""
    asked: tuple[float, str, str]
    """What the fields said: fraction, which lamps, the mark as the canvas holds it."""


@dataclass
class Desk:
    """What one visitor has on the card."""

    name: str
    size: tuple[int, int]
    """Width and height of the photograph."""
    preview: Picture
    """The photograph at the size of the page."""
    file: Path | None = None
    """The visitor's copy of it; None for the example."""
    mark: str = ""
    """The mark that the canvas held last."""
    wish: Wish | None = None
    verdict: Verdict | None = None

    @property
    def megapixels(self) -> float:
        """Of the photograph itself."""
        return self.size[0] * self.size[1] / 1e6


@dataclass(frozen=True)
class Relit:
    """A photograph as it is and relit, at the size of the page."""

    before: Picture
    after: Picture
    verdict: Verdict
    figures: dict[str, object]
    """The same for a program."""


def desk_of(visit: Visit) -> Desk:
    """What this visitor has on the card; the example where no photograph was opened."""
    if CARD not in visit.benches:
        room = example_room()
        visit.benches[CARD] = Desk("example room", room.size, room)
    found: Desk = visit.benches[CARD]
    return found


@cache
def example_room() -> Picture:
    """A room of the renderer that the embedded relighter never saw, table lamp and pendant lit."""
    from styles.demo.measure import HELD_OUT, draw
    from styles.demo.renderer import factors_of, render
    from styles.relighting.rooms import with_powers

    factors = factors_of(draw(HELD_OUT + 52, 1))
    return styles.to_pil(render(with_powers(factors, torch.tensor([[1.0, 0.6]])), size=CANVAS).images)[0]


@cache
def network(place: str) -> styles.Relighter:
    """The embedded relighter on a device; opened once."""
    return styles.load_relighter("demo", device=place)


def opened(visit: Visit, path: str | None) -> str:
    """Take a visitor's photograph; what the canvas shows of it.

    Raises:
        ValueError: none given, or as `open_photo`: no picture, a damaged one, more pixels than are decoded.
    """
    if not path:
        raise ValueError("no photograph came with it; open a PNG or JPEG of a room with a lamp")
    source = Path(path)
    picture = open_photo(source)
    size = picture.size
    preview = picture.convert("RGB") if picture.mode != "RGB" else picture
    preview.thumbnail((SHOWN, SHOWN))
    folder = visit.folder / CARD
    folder.mkdir(exist_ok=True)
    file = folder / f"photo{source.suffix.lower()}"
    shutil.copyfile(source, file)
    visit.benches[CARD] = Desk(source.name, size, preview, file)
    return canvas_of(visit)


def example(visit: Visit) -> str:
    """Put the example back on the canvas."""
    visit.benches.pop(CARD, None)
    return canvas_of(visit)


def canvas_of(visit: Visit) -> str:
    """The canvas with the photograph and no mark."""
    desk = desk_of(visit)
    desk.mark = ""
    scale = CANVAS / max(desk.size)
    return held(desk.preview, None, shape=[max(1, round(length * scale)) for length in desk.size])


def wish_of(fraction: float, which: str, canvas: str) -> Wish:
    """What the fields ask for.

    Raises:
        ValueError: another choice than the two, a fraction outside 0 to 1, nothing painted where a mark is asked for.
    """
    if which not in (ALL, ONE):
        raise ValueError(f"choose {ALL} or {ONE}, not {which!r}")
    if not 0 <= float(fraction) <= 1:
        raise ValueError(f"the fraction goes from 0 (off) to 1 (fully lit), not {fraction}")
    mask = painted(canvas, None) if which == ONE else None
    if which == ONE and mask is None:
        raise ValueError("nothing is painted: paint over the lamp in the photograph, or choose All lamps")
    return Wish(float(fraction), mask, (float(fraction), which, mark_in(canvas)))


def mark_in(canvas: str | None) -> str:
    """The mark of a canvas's value as it is written there; '' where there is none."""
    try:
        mark = json.loads(canvas or "{}").get("mark", "")
    except (ValueError, AttributeError):
        return ""
    return mark if isinstance(mark, str) else ""


def relit(workshop: Workshop, visit: Visit, wish: Wish) -> Relit:
    """The photograph relit, at the size of the page; the wish is kept for the download."""
    desk, net = desk_of(visit), network(workshop.settings.place)
    after = styles.relight(net, desk.preview, wish.fraction, wish.mask)
    levels = [np.asarray(picture.convert("L"), np.float32) / 255 for picture in (desk.preview, after)]
    where = np.ones_like(levels[0], bool) if wish.mask is None else _region(wish.mask, desk.preview.size)
    before_light, after_light = (float(level[where].mean()) for level in levels)
    moved = np.abs(levels[1] - levels[0])
    elsewhere = float(moved[~where].mean()) if bool((~where).any()) else None
    desk.wish = wish
    desk.verdict = _verdict(desk, net, wish, (before_light, after_light), float(moved[where].mean()), elsewhere)
    figures: dict[str, object] = {
        "fraction": wish.fraction, "brightness": [round(before_light, 4), round(after_light, 4)],
        "size": list(desk.size), "seen_at": list(seen_at(net, desk.size)),
    }  # fmt: skip
    return Relit(desk.preview, after, desk.verdict, figures)


def _region(mask: Float[torch.Tensor, "h w"], size: tuple[int, int]) -> np.ndarray:
    """The mask on the pixels of the preview; its brightest pixel where all of it is thinner than one."""
    band = Image.fromarray((mask.numpy() * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    levels = np.asarray(band)
    return levels >= min(128, int(levels.max()))


def _verdict(
    desk: Desk,
    net: styles.Relighter,
    wish: Wish,
    light: tuple[float, float],
    moved: float,
    elsewhere: float | None,
) -> Verdict:
    """What changed, how large the network saw it, and what it learnt from."""
    what = "The photograph" if wish.mask is None else "The painted place"
    by = (
        f"Brightness of the picture, 0 is black and 1 is white. {seen_said(net, desk.size)} The network learnt from "
        "rendered rooms alone, so look closely."
    )
    if moved < _SEEN:
        why = "at 1 a lit lamp stays as it is" if wish.fraction == 1 else "the network sees no lamp there that it knows"
        return Verdict("look", f"{what} hardly changed: {why}.", by)
    rest = "" if wish.mask is None or elsewhere is None else f" The rest moved by {elsewhere:.2f} in the mean."
    return Verdict("calm", f"{what} went from {light[0]:.2f} to {light[1]:.2f} in brightness.{rest}", by)


def seen_said(net: styles.Relighter, size: tuple[int, int]) -> str:
    """At which size the network sees a photograph, and what becomes of the full one, in words."""
    wide, high = seen_at(net, size)
    if (wide, high) == size:
        return f"The network paints all {wide} × {high} pixels itself."
    return (
        f"The network sees it shrunk to {wide} × {high} pixels; the change of light is laid over all "
        f"{size[0] * size[1] / 1e6:.1f} megapixels strip by strip, so the detail is the photograph's."
    )


def stale(desk: Desk, fraction: float, which: str, canvas: str) -> bool:
    """Whether the fields ask for another picture than the one that is shown."""
    if desk.wish is None:
        return False
    then, now = desk.wish.asked, (float(fraction), which, mark_in(canvas))
    return then[:2] != now[:2] or (which == ONE and then[2] != now[2])


def written(workshop: Workshop, visit: Visit, tell: Tell) -> Path:
    """The picture that is shown, made at the photograph's own size: a JPEG where the photograph was one, else a PNG.

    Raises:
        ValueError: nothing was relit yet.
        Stopped: cancel was pressed.
    """
    desk, net = desk_of(visit), network(workshop.settings.place)
    if desk.wish is None:
        raise ValueError("nothing is relit yet: press Relight it first")
    photo = example_room() if desk.file is None else open_photo(desk.file)

    def progress(done: int, rows: int) -> None:
        visit.check()
        tell(News(f"Relighting {desk.megapixels:.1f} megapixels", 0.9 * done / rows))

    made = styles.relight(net, photo, desk.wish.fraction, desk.wish.mask, progress=progress)
    tell(News("Writing the picture", 0.9))
    ending = ".jpg" if desk.file is not None and desk.file.suffix in _JPEG else ".png"
    folder = visit.folder / CARD
    folder.mkdir(exist_ok=True)
    path = folder / f"relit-{desk.wish.fraction:g}{ending}"
    save_picture(made, path)
    return path


def as_html(found: Relit) -> str:
    """The picture relit; wiping shows it as it was, Enter shows both large."""
    wide, high = found.before.size
    over = f'<img class="over" alt="" src="{url_of(found.before, SHOWN)}">'
    before = shot("before", found.before, "before: the photograph as it is", "", most=SHOWN)
    after = shot("after", found.after, f"after: {html.escape(found.verdict.sentence)}", "", over, most=SHOWN)
    return (
        f'<div class="bench"><div class="bench relit" style="--columns: 1; --wide: {wide / high:.4f}; grid-column: 1 / '
        '-1" role="group" aria-label="The photograph relit. Arrow keys up and down wipe between before and after, '
        'Enter enlarges both."><figure tabindex="0" role="button" aria-label="Before and after">'
        f"{before}{after}</figure></div></div>"
    )
