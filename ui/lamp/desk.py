"""The desk of the Light tab: units under sliders, turned in the room on the canvas, in others, and along a GIF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image

import styles
from styles.units.modulate import check_unit
from ui.lamp.light import (
    Desk,
    Light,
    Slider,
    Unit,
    latents,
    light_of,
    on_canvas,
    room_images,
    rooms_from,
    statistics_of,
)
from ui.lamp.marks import SIDE, Picture, enlarged, side_by_side
from ui.lamp.switch import read
from ui.workshop.session import News, Tell, Visit, Workshop

SLIDERS = 8
"""Units that have a slider at a time."""
REACH = 12.0
"""A slider goes so many standard deviations of its unit to either side."""
FRAMES = 24
"""Pictures of a GIF, one way."""
_STRIP, _STRIPS_KEPT = 9, 64


def put_on_desk(workshop: Workshop, visit: Visit, names: Sequence[str]) -> list[Slider]:
    """Lay these units on the desk, and no others; those that lie there already keep their values.

    Raises:
        ValueError: a unit that the generator does not have, or more than there are sliders.
    """
    light = light_of(visit)
    model = workshop.generator(light.rooms.generator)
    units = [check_unit(model, _unit(str(name))) for name in names]
    if len(units) > SLIDERS:
        raise ValueError(f"{len(units)} units are more than there are sliders; choose at most {SLIDERS}")
    held = dict(list(light.desk.values.items())[SLIDERS:])
    values = {unit: light.desk.values.get(unit, _neutral(workshop, light, unit)) for unit in units}
    light.desk = replace(light.desk, values={**values, **held}) if values or held else Desk()
    return sliders(workshop, visit)


def sliders(workshop: Workshop, visit: Visit) -> list[Slider]:
    """The desk's sliders, each with a strip of pictures along its range."""
    light = light_of(visit)
    made = []
    for unit, value in list(light.desk.values.items())[:SLIDERS]:
        low, high = _range(workshop, light, unit)
        strip = _strip(workshop, light, unit, (low, high))
        made.append(Slider(f"{unit[0]}:{unit[1]}", min(low, value), max(high, value), value, strip))
    return made


def set_values(visit: Visit, values: Sequence[float]) -> None:
    """Move the sliders, in their order."""
    light = light_of(visit)
    moved = dict(zip(list(light.desk.values)[:SLIDERS], (float(value) for value in values), strict=False))
    light.desk = replace(light.desk, values={**light.desk.values, **moved})


def reset(workshop: Workshop, visit: Visit) -> list[Slider]:
    """Every unit back to where nothing is changed."""
    light = light_of(visit)
    light.desk = replace(light.desk, values={unit: _neutral(workshop, light, unit) for unit in light.desk.values})
    return sliders(workshop, visit)


@torch.no_grad()
def turned(workshop: Workshop, visit: Visit, *, inside: bool = False) -> tuple[Picture, Picture]:
    """The room on the canvas as it is, and as the desk turns it; with `inside` the mark alone changes."""
    light = light_of(visit)
    model = workshop.generator(light.rooms.generator)
    w = latents(model, light.rooms, [on_canvas(light)])
    before = model.synthesize(w)
    with _applied(workshop, light, light.desk, _mark(light, inside)):
        after = model.synthesize(w)
    first, second = styles.to_pil(torch.cat([before, after]))
    return enlarged(first, SIDE), enlarged(second, SIDE)


def others(workshop: Workshop, visit: Visit, seeds: str) -> list[tuple[Picture, str]]:
    """Other rooms of the same generator, before and after, side by side."""
    light = light_of(visit)
    rooms = light.rooms
    wanted = rooms_from(rooms.generator, seeds, rooms.truncation, rooms.label)
    _something(light.desk)
    before = room_images(workshop, wanted, wanted.seeds)
    with _applied(workshop, light, light.desk, None):
        after = room_images(workshop, wanted, wanted.seeds)
    pairs = zip(wanted.seeds, styles.to_pil(before), styles.to_pil(after), strict=True)
    return [(side_by_side((a, b)), f"room {seed}: before, after") for seed, a, b in pairs]


@torch.no_grad()
def sweep(workshop: Workshop, visit: Visit, unit: str | None, *, inside: bool, tell: Tell) -> Path:
    """A GIF of the room on the canvas: a unit along its slider, or (None) from unchanged to the desk; and back."""
    light = light_of(visit)
    model = workshop.generator(light.rooms.generator)
    w = latents(model, light.rooms, [on_canvas(light)])
    mark = _mark(light, inside)
    desks = list(_along(workshop, light, unit) if unit else _towards(workshop, light))
    frames = []
    for i, desk in enumerate(desks, 1):
        visit.check()
        tell(News(f"Frame {i} of {len(desks)}", i / len(desks)))
        with _applied(workshop, light, desk, mark):
            frames.append(model.synthesize(w))
    path = _folder(visit) / "light_sweep.gif"
    styles.save_sweep(frames + frames[-2:0:-1], path, fps=12.0, side=max(SIDE // 2, model.config.resolution))
    return path


def save(visit: Visit, note: str = "") -> Path:
    """The desk as the file of a unit edit."""
    light = light_of(visit)
    _something(light.desk)
    path = _folder(visit) / "unit_edit.json"
    replace(light.desk.edit(), note=str(note)[:500]).save(path)
    return path


def load(workshop: Workshop, visit: Visit, path: str | Path) -> list[Slider]:
    """Lay a saved unit edit on the desk, turned in its own way. Units beyond the sliders stay as the file has them.

    Raises:
        ValueError: no unit edit, or one of another generator.
    """
    light = light_of(visit)
    edit = read(workshop.generator(light.rooms.generator), path)
    values = {(layer, channel): value for layer, channel, value in edit.units}
    light.desk = Desk(values, edit.how, edit.mode, edit.note)
    return sliders(workshop, visit)


@contextmanager
def _applied(workshop: Workshop, light: Light, desk: Desk, mark: Float[torch.Tensor, "h w"] | None) -> Iterator[None]:
    """The desk's edit in force; nothing where nothing is turned."""
    edit = desk.edit()
    if not edit.units:
        yield
        return
    model = workshop.generator(light.rooms.generator)
    with edit.applied(model, mask=mark, statistics=statistics_of(workshop, light)):
        yield


def _neutral(workshop: Workshop, light: Light, unit: Unit) -> float:
    """The value at which a unit changes nothing in the room on the canvas."""
    if light.desk.how != "set":
        return light.desk.neutral(0.0)
    model = workshop.generator(light.rooms.generator)
    return light.desk.neutral(float(model.styles(latents(model, light.rooms, [_any(light)]))[unit[0]][0, unit[1]]))


def _range(workshop: Workshop, light: Light, unit: Unit) -> tuple[float, float]:
    """The ends of a unit's slider."""
    low, high = statistics_of(workshop, light).range(unit, sigmas=REACH)
    half = (high - low) / 2
    return {"sigma": (-REACH, REACH), "shift": (-half, half), "scale": (-2.0, 4.0), "set": (low, high)}[light.desk.how]


@torch.no_grad()
def _strip(workshop: Workshop, light: Light, unit: Unit, ends: tuple[float, float]) -> Picture:
    """The room on the canvas along a unit's slider, from left to right."""
    key = (light.rooms, _any(light), unit, light.desk.how, light.desk.mode)
    if key not in light.strips:
        model = workshop.generator(light.rooms.generator)
        w = latents(model, light.rooms, [_any(light)])
        frames = []
        for value in torch.linspace(*ends, _STRIP).tolist():
            with _applied(workshop, light, replace(light.desk, values={unit: value}), None):
                frames.append(model.synthesize(w))
        sheet = styles.grid(torch.cat(frames), columns=_STRIP)
        light.strips = dict(list(light.strips.items())[1 - _STRIPS_KEPT :])
        light.strips[key] = sheet.resize((_STRIP * 96, 96), Image.Resampling.BICUBIC)
    return light.strips[key]


def _along(workshop: Workshop, light: Light, name: str) -> Iterator[Desk]:
    """One unit from the left to the right end of its slider."""
    unit = check_unit(workshop.generator(light.rooms.generator), _unit(name))
    for value in torch.linspace(*_range(workshop, light, unit), FRAMES).tolist():
        yield replace(light.desk, values={unit: value})


def _towards(workshop: Workshop, light: Light) -> Iterator[Desk]:
    """All units from unchanged to where they stand."""
    _something(light.desk)
    starts = {unit: _neutral(workshop, light, unit) for unit in light.desk.values}
    for step in torch.linspace(0, 1, FRAMES).tolist():
        moved = {unit: starts[unit] + step * (value - starts[unit]) for unit, value in light.desk.values.items()}
        yield replace(light.desk, values=moved)


def _unit(name: str) -> Unit:
    """'b16.conv1:12' as ("b16.conv1", 12)."""
    layer, _, channel = name.partition(":")
    if not channel.strip().isdecimal():
        raise ValueError(f"'{name}' is no unit; write one such as b16.conv1:12")
    return layer.strip(), int(channel)


def _something(desk: Desk) -> None:
    if not desk.edit().units:
        raise ValueError("nothing is turned yet: move the slider of a unit first")


def _mark(light: Light, inside: bool) -> Float[torch.Tensor, "h w"] | None:
    if not inside:
        return None
    if light.at not in light.masks:
        raise ValueError("nothing is marked in this room: paint over a place, or turn the unit everywhere")
    return light.masks[light.at]


def _any(light: Light) -> int:
    """The room on the canvas, or the first one there is."""
    return light.at if light.at is not None else (light.rooms.seeds or (0,))[0]


def _folder(visit: Visit) -> Path:
    folder = visit.folder / "light"
    folder.mkdir(exist_ok=True)
    return folder
