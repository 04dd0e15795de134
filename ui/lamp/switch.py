"""The switch: solved from the marks at once, painted from on to off, measured in the mark and beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

import styles
from styles.units.modulate import check_unit
from ui.bench.verdict import Verdict
from ui.lamp.light import Light, latents, light_of, on_canvas
from ui.workshop.session import News, Stopped, Tell, Visit, Workshop

if TYPE_CHECKING:
    from PIL.Image import Image

    from styles.generator import Generator
    from styles.units.modulate import UnitEdit

FRAMES = 9
"""Pictures from on to off."""
OTHERS = 6
FEW = 12
"""Neurons of the few at most."""
FILE_LIMIT = 1_000_000
"""Bytes of the largest unit edit read."""
_NEAR, _FAR = 2, 6
"""The wall around a mark: pixels between these distances from it, of 64."""
_AS_DARK = 0.1
"""A lamp this near the wall's light is off."""
_WEIGHTS = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Switched:
    """A switch and what it does to the room on the canvas."""

    edit: UnitEdit
    seed: int
    frames: tuple[Image, ...]
    """From on (strength 0) to off (1)."""
    light: tuple[float, ...]
    """Luminance in the mark of each frame, 0 to 1."""
    wall: float
    """Luminance around the mark, switched off."""
    moved: float
    """Mean change of the pixels farther away, 0 to 1."""
    few: bool = False

    @property
    def said(self) -> tuple[str, ...]:
        """Each frame in words."""
        whole = max(self.light[0] - self.wall, 1e-6)
        shares = [max(0.0, (value - self.wall) / whole) for value in self.light]
        return tuple(f"the marked place gives {share:.0%} of its light above the wall's" for share in shares)

    @property
    def verdict(self) -> Verdict:
        """How dark it is, and what else moved."""
        left, off = self.light[-1], abs(self.light[-1] - self.wall) <= _AS_DARK
        lit = self.light[0] - self.wall > _AS_DARK
        way = dict(self.edit.measured).get("reached", 1.0)
        told = (
            f"The marked place went from {self.light[0]:.2f} to {left:.2f}; the wall around it has {self.wall:.2f}. "
            f"The rest of the room moved by {self.moved:.3f} in the mean."
        )
        how = f"Measured on the picture, 0 is black and 1 is white; {len(self.edit.units):,} neurons turned."
        if not lit:
            return Verdict("look", f"{told} It was hardly lit to begin with, so there is little to switch off.", how)
        if not off:
            return Verdict("look", f"{told} It is not as dark as the wall.", how)
        if self.few:
            told += f" Few neurons came {way:.0%} of the way and change other things too: compare the whole room."
        return Verdict("look" if self.few else "good", told, how)


def solve(workshop: Workshop, visit: Visit, few: bool, tell: Tell) -> Switched:
    """Solve the switch from every marked room, and paint the room on the canvas from on to off.

    Raises:
        ValueError: nothing marked, or as `styles.solve_control`.
    """
    light = light_of(visit)
    seeds = [seed for seed in light.rooms.seeds if seed in light.masks]
    if not seeds:
        raise ValueError("nothing is marked yet: paint over the lamp, then press Switch it off")
    model = workshop.generator(light.rooms.generator)
    masks = torch.stack([light.masks[seed] for seed in seeds])

    def progress(done: int, total: int) -> None:
        if visit.stop.is_set():
            raise Stopped
        tell(News("Solving the switch", done / total))

    tell(News("Solving the switch", 0.0))
    edit = styles.solve_control(
        model, latents(model, light.rooms, seeds), masks, units=FEW if few else None, progress=progress
    )
    light.switch, light.few = edit, few
    seed = light.at if light.at in seeds else seeds[0]
    return shown(workshop, light, edit, int(seed or 0), few)


@torch.no_grad()
def shown(workshop: Workshop, light: Light, edit: UnitEdit, seed: int, few: bool = False) -> Switched:
    """The frames of one room under a switch, measured in its mark."""
    model = workshop.generator(light.rooms.generator)
    w, mask = latents(model, light.rooms, [seed]), light.masks[seed] > 0.5
    pictures = []
    for strength in (torch.linspace(0, 1, FRAMES) * needed(model, w, edit)[0]).tolist():
        with edit.applied(model, strength=strength):
            pictures.append(model.synthesize(w)[0])
    stack = torch.stack(pictures).cpu()
    ring, rest = _around(mask, model)
    luma = _luma(stack)
    wall = float(luma[-1][ring].mean()) if bool(ring.any()) else float(luma[-1].mean())
    moved = float((stack[-1] - stack[0]).abs().mean(0)[rest].mean() / 2) if bool(rest.any()) else 0.0
    values = tuple(float(frame[mask].mean()) for frame in luma)
    return Switched(edit, seed, tuple(styles.to_pil(stack)), values, wall, moved, few)


def needed(model: Generator, w: Tensor, edit: UnitEdit) -> Float[Tensor, " rooms"]:
    """How strongly each room is switched: a switch of all units as far as it takes to end where the marked ones did."""
    if "place" not in dict(edit.measured):
        return torch.ones(len(w))
    return styles.even_strengths(model, w, edit).cpu()


def _luma(pictures: Float[Tensor, "frames 3 h w"]) -> Float[Tensor, "frames h w"]:
    """Luminance of display values, 0 to 1 (Rec. 709 weights)."""
    weights = torch.tensor(_WEIGHTS)[:, None, None]
    return ((pictures.clamp(-1, 1) + 1) / 2 * weights).sum(1)


def _around(mask: Bool[Tensor, "h w"], model: Generator) -> tuple[Bool[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """The ring around a mark, and all that lies farther away."""
    scale = max(1, model.config.resolution // 64)
    near, far = (_grown(mask, scale * pixels) for pixels in (_NEAR, _FAR))
    return far & ~near, ~far


def _grown(mask: Bool[Tensor, "h w"], by: int) -> Bool[Tensor, "h w"]:
    return F.max_pool2d(mask.float()[None, None], 2 * by + 1, 1, by)[0, 0] > 0


@torch.no_grad()
def others(workshop: Workshop, visit: Visit, tell: Tell) -> list[tuple[int, Image, Image]]:
    """The same switch in the other rooms shown: seed, on, off. A switch of all units is made as strong as each room
    needs (`styles.even_strengths`).

    Raises:
        ValueError: no switch yet.
    """
    light = light_of(visit)
    edit = switch_of(light)
    model = workshop.generator(light.rooms.generator)
    seeds = [seed for seed in light.rooms.seeds if seed != light.at][:OTHERS]
    if not seeds:
        raise ValueError("there is no other room on the page; show more rooms first")
    w = latents(model, light.rooms, seeds)
    strength = needed(model, w, edit).tolist()
    found = []
    for i, seed in enumerate(seeds):
        tell(News(f"Room {seed}", i / len(seeds)))
        on = model.synthesize(w[i : i + 1])
        with edit.applied(model, strength=strength[i]):
            off = model.synthesize(w[i : i + 1])
        found.append((seed, styles.to_pil(on)[0], styles.to_pil(off)[0]))
    return found


def switch_of(light: Light) -> UnitEdit:
    """The switch that was solved.

    Raises:
        ValueError: none was.
    """
    if light.switch is None:
        raise ValueError("there is no switch yet: press Switch it off first")
    return light.switch


def save(visit: Visit) -> Path:
    """The switch as a unit edit file.

    Raises:
        ValueError: no switch yet.
    """
    path = _folder(visit) / "switch.json"
    switch_of(light_of(visit)).save(path)
    return path


def read(model: Generator, path: str | Path) -> UnitEdit:
    """A unit edit from a visitor's file.

    Raises:
        ValueError: too large, no unit edit, or units that this generator does not have.
    """
    if Path(path).stat().st_size > FILE_LIMIT:
        raise ValueError(f"the file is larger than any unit edit ({FILE_LIMIT // 1_000_000} MB); give another")
    edit = styles.UnitEdit.load(path)
    for layer, channel, _ in edit.units:
        check_unit(model, (layer, channel))
    return edit


def load(workshop: Workshop, visit: Visit, path: str | Path) -> Switched:
    """A saved unit edit as the switch, shown in the room on the canvas.

    Raises:
        ValueError: no unit edit, one of another generator, or no mark in the room on the canvas.
    """
    light = light_of(visit)
    edit = read(workshop.generator(light.rooms.generator), path)
    seed = on_canvas(light)
    if seed not in light.masks:
        raise ValueError("nothing is marked in this room, so nothing tells what goes dark; paint over the lamp first")
    light.switch, light.few = edit, False
    return shown(workshop, light, edit, seed)


def gif(workshop: Workshop, visit: Visit) -> Path:
    """The room on the canvas going off and on again.

    Raises:
        ValueError: no switch yet, or no room on the canvas.
    """
    light = light_of(visit)
    frames = shown(workshop, light, switch_of(light), on_canvas(light)).frames
    large = [frame.resize((256, 256)) for frame in (*frames, *frames[-2:0:-1])]
    path = _folder(visit) / "lamp.gif"
    large[0].save(path, save_all=True, append_images=large[1:], duration=120, loop=0)
    return path


def _folder(visit: Visit) -> Path:
    folder = visit.folder / "lamp"
    folder.mkdir(exist_ok=True)
    return folder
