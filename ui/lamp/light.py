"""Light without the page: rooms are shown, a lamp is marked, the units behind it are ranked. `styles` does the work.

Every function takes the workshop and the visit first. Those that paint belong in the lane (`workshop.work`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float

import styles
from styles.seeds import seeds_of
from ui.lamp.marks import SIDE, SMALL, Picture, enlarged, layer, mask_file, painted, side_by_side
from ui.lamp.painter import held
from ui.workshop.session import EMBEDDED, News, Stopped, Tell, Visit, Workshop

if TYPE_CHECKING:
    from styles.generator import Generator
    from styles.units.modulate import How, Statistics

Unit = tuple[str, int]
MOST_ROOMS = 24
UNITS_SHOWN = 12


@dataclass(frozen=True)
class Rooms:
    """Which pictures are looked at."""

    generator: str = EMBEDDED
    seeds: tuple[int, ...] = ()
    truncation: float = 1.0
    label: int | None = None
    """Class of a conditional generator."""


@dataclass(frozen=True)
class Desk:
    """Units under the hand, each with its value."""

    values: Mapping[Unit, float] = field(default_factory=dict)
    how: How = "sigma"
    mode: Literal["style", "feature"] = "style"
    note: str = ""

    def neutral(self, own: float) -> float:
        """The value of a unit that changes nothing; `own` is its value in the room looked at."""
        return {"sigma": 0.0, "shift": 0.0, "scale": 1.0, "set": own}[self.how]

    def edit(self) -> styles.UnitEdit:
        """The desk as an edit; units that are not turned are left out."""
        idle = {"sigma": 0.0, "shift": 0.0, "scale": 1.0}.get(self.how)
        rows = tuple((name, channel, value) for (name, channel), value in self.values.items() if value != idle)
        return styles.UnitEdit(rows, self.how, self.mode, self.note)


@dataclass
class Light:
    """What one visitor has on the Light tab."""

    rooms: Rooms = field(default_factory=Rooms)
    at: int | None = None
    """Seed of the room on the canvas."""
    masks: dict[int, Float[torch.Tensor, "h w"]] = field(default_factory=dict)
    """Seed -> mark, in [0, 1]."""
    ranking: styles.Ranking | None = None
    ranked: tuple[int, ...] = ()
    desk: Desk = field(default_factory=Desk)
    statistics: Statistics | None = None
    switch: styles.UnitEdit | None = None
    """The switch that was solved last."""
    few: bool = False
    """Whether it was asked of few units."""
    shown: tuple[str, Any] | None = None
    """The mark that the last result was made with, as the canvas holds it, and its verdict."""
    strips: dict[tuple[Any, ...], Picture] = field(default_factory=dict)
    """Pictures along sliders, kept because they are looked at again."""


@dataclass(frozen=True)
class Found:
    """A ranking as the page shows it."""

    pictures: list[tuple[Picture, str]]
    units: list[tuple[str, str]]
    """Label and name of each unit shown."""
    text: str


@dataclass(frozen=True)
class Slider:
    """One slider of the desk."""

    unit: str
    low: float
    high: float
    value: float
    strip: Picture
    """The room along the slider, left to right."""


def light_of(visit: Visit) -> Light:
    """What this visitor has on the tab."""
    if visit.light is None:
        visit.light = Light()
    return visit.light


# Rooms


def rooms_from(generator: str, seeds: str, truncation: float = 1.0, label: float | None = None) -> Rooms:
    """What the page's fields say.

    Raises:
        ValueError: seeds that are none or too many, a variety outside 0 to 2.
    """
    found = seeds_of(str(seeds), most=MOST_ROOMS, what="rooms")
    if not 0 <= truncation <= 2:
        raise ValueError(f"variety is a number from 0 to 2, got {truncation}")
    return Rooms(generator or EMBEDDED, found, float(truncation), None if label is None else int(label))


def show_rooms(workshop: Workshop, visit: Visit, rooms: Rooms) -> list[tuple[Picture, str]]:
    """Paint the rooms, small, with captions. Marks stay where the rooms do, the desk where the generator does."""
    pictures = styles.to_pil(room_images(workshop, rooms, rooms.seeds))
    light = light_of(visit)
    if replace(rooms, seeds=()) != replace(light.rooms, seeds=()):
        kept = light.desk if rooms.generator == light.rooms.generator else Desk()
        visit.light = light = Light(desk=kept)
    light.rooms = rooms
    light.masks = {seed: mask for seed, mask in light.masks.items() if seed in rooms.seeds}
    light.at = light.at if light.at in rooms.seeds else None
    return [(enlarged(picture, SMALL), f"room {seed}") for seed, picture in zip(rooms.seeds, pictures, strict=True)]


def brightest_lamp(seeds: Sequence[int]) -> int:
    """The embedded room whose lamp burns brightest, known from the renderer that the rooms were learned from."""
    from styles.demo.renderer import FACTORS, Z_DIM, factors_of

    draws = [torch.randn(Z_DIM, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return seeds[int(factors_of(torch.stack(draws))[:, FACTORS.index("lamp")].argmax())]


def mark_lamp(workshop: Workshop, visit: Visit) -> None:
    """Mark the lamp of the room on the canvas, where the renderer of the embedded rooms puts it."""
    from styles.demo.renderer import factors_of, render

    light = light_of(visit)
    if light.rooms.generator != EMBEDDED:
        raise ValueError("only the embedded rooms know where their lamps are; paint over the lamp yourself")
    z = workshop.generator(EMBEDDED).sample_z([on_canvas(light)]).cpu()
    light.masks[on_canvas(light)] = render(factors_of(z)).masks["shade"][0]


# Marks


def canvas_of(workshop: Workshop, visit: Visit, seed: int) -> str:
    """Put a room on the canvas, with the mark that it has already."""
    light = light_of(visit)
    if seed not in light.rooms.seeds:
        raise ValueError(f"room {seed} is not among those shown; choose one of them")
    light.at = seed
    room = enlarged(styles.to_pil(room_images(workshop, light.rooms, [seed]))[0], SIDE)
    return held(room, layer(light.masks[seed]) if seed in light.masks else None)


def keep_mark(workshop: Workshop, visit: Visit, canvas: str | None) -> None:
    """Remember what is painted on the canvas as the mark of its room; '' leaves it as it is."""
    light = light_of(visit)
    if light.at is None or not canvas:
        return
    mask = painted(canvas, workshop.generator(light.rooms.generator).config.resolution)
    light.masks.pop(light.at, None)
    if mask is not None:
        light.masks[light.at] = mask


def take_mark(workshop: Workshop, visit: Visit, path: str) -> None:
    """Take the white pixels of a picture as the mark of the room on the canvas."""
    light = light_of(visit)
    seed = on_canvas(light)
    light.masks[seed] = mask_file(path, workshop.generator(light.rooms.generator).config.resolution)


def on_canvas(light: Light) -> int:
    """Seed of the room on the canvas.

    Raises:
        ValueError: there is none.
    """
    if light.at is None:
        raise ValueError("no room is on the canvas yet: show the rooms and choose one")
    return light.at


# Ranking


def rank(workshop: Workshop, visit: Visit, *, confirm: int, mode: str, tell: Tell) -> Found:
    """Rank the units behind the marks of all marked rooms; what is known when it is stopped is kept."""
    light = light_of(visit)
    seeds = tuple(seed for seed in light.rooms.seeds if seed in light.masks)
    if not seeds:
        raise ValueError("nothing is marked yet: paint over the lamp in the picture, then press Find again")
    model = workshop.generator(light.rooms.generator)
    tell(News("Looking at all units at once.", 0.0))
    try:
        light.ranking = styles.rank_units(
            model,
            latents(model, light.rooms, seeds),
            torch.stack([light.masks[seed] for seed in seeds]),
            mode=mode,  # type: ignore[arg-type]
            confirm=int(confirm),
            progress=lambda done, total: tell(
                News(f"Switching units off, one by one: {done} of {total}", done / total)
            ),
            cancel=visit.stop.is_set,
        )
    except styles.RankingCancelledError as error:
        raise Stopped from error
    light.ranked = seeds
    tell(News("Painting the best units.", 1.0))
    return found(workshop, visit)


def found(workshop: Workshop, visit: Visit, label: str | None = None) -> Found:
    """The best units of the last ranking, perhaps of one kind only: each switched off, and what that changes."""
    light = light_of(visit)
    if light.ranking is None:
        raise ValueError("nothing has been ranked yet: mark the lamp and press Find")
    model = workshop.generator(light.rooms.generator)
    w = latents(model, light.rooms, [light.at if light.at in light.ranked else light.ranked[0]])
    base = model.synthesize(w)
    units = names(visit, label)
    pictures = []
    for i, row in enumerate(light.ranking.top(UNITS_SHOWN, label=label), 1):
        visit.check()
        pair = styles.unit_pictures(model, w, row, mode=light.ranking.mode, base=base)
        pictures.append((side_by_side(pair), f"{i}. {row.label} · {units[i - 1][1]}"))
    return Found(pictures, units, _summary(light, len(units)))


def names(visit: Visit, label: str | None = None) -> list[tuple[str, str]]:
    """Label and name of the best units of a kind, as `found` shows them."""
    ranking = light_of(visit).ranking
    rows = ranking.top(UNITS_SHOWN, label=label) if ranking is not None else []
    return [(f"{what_it_does(row)} · {row.layer}:{row.channel}", f"{row.layer}:{row.channel}") for row in rows]


def what_it_does(row: styles.Row) -> str:
    """A unit's effect in the mark, in words."""
    off = "darker" if row.d_luma < 0 else "brighter"
    what = {"light": f"light, {off} when off", "warmth": "colour of the light", "shape": "shape"}[row.label]
    return what if row.exact else f"{what} (estimate)"


def _summary(light: Light, shown: int) -> str:
    ranking = light.ranking
    if ranking is None or not shown:
        return "No unit of this kind was found; look at another kind."
    where = f"room{'s' * (len(light.ranked) > 1)} {', '.join(str(seed) for seed in light.ranked)}"
    depth = ranking.confirmed_depth()
    return f"{len(ranking)} units ranked on {where}; the first {depth} were really switched off, the rest is estimated."


# What the desk needs too


def statistics_of(workshop: Workshop, light: Light) -> Statistics:
    """How much each unit of the generator varies."""
    if light.statistics is None:
        light.statistics = styles.style_statistics(workshop.generator(light.rooms.generator))
    return light.statistics


def latents(model: Generator, rooms: Rooms, seeds: Sequence[int]) -> Float[torch.Tensor, "rooms layers d_w"]:
    """The rooms' w."""
    labels = None if rooms.label is None else [rooms.label] * len(seeds)
    return model.map(model.sample_z(seeds), truncation=rooms.truncation, class_labels=labels)


@torch.no_grad()
def room_images(workshop: Workshop, rooms: Rooms, seeds: Sequence[int]) -> Float[torch.Tensor, "rooms rgb h w"]:
    """Some rooms, painted a few at a time."""
    model = workshop.generator(rooms.generator)
    return torch.cat([model.synthesize(part) for part in latents(model, rooms, seeds).split(8)])
