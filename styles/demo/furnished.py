"""Rendered rooms in which things may be missing, and masks of what is really seen: what the segmenter learns from.

The renderer's rooms all have the same things in nearly the same places; whoever learnt from them alone would see a
lamp where lamps stand. Here each thing may be left out, rooms are mirrored, cut and blurred, and a mask says what is
seen: no mirror image of a lamp that is off, no window behind the lampshade.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.demo.renderer import SIDE, Z_DIM, Plane, Rendering, Scene, factors_of

THINGS: Mapping[str, tuple[str, ...]] = {
    "shade": ("shade", "stem"),
    "table": ("table",),
    "pendant": ("pendant", "cord"),
    "window": ("window", "frame"),
    "picture": ("picture", "picture_frame"),
    "bed": ("bed", "headboard", "pillow"),
}
"""What may be missing, and the renderer's covers that go with it."""
_LIT, _SHINY = 0.15, 0.10
"""A lamp of less power casts no glow that one sees; one of less power times gloss no mirror image."""
_GAP = 0.25
"""How often a thing is missing, in rooms that are not complete."""


class Furnished(Scene):
    """A room without some of its things; their light stays, as where only a thing itself was painted out."""

    def __init__(
        self, factors: Float[Tensor, "batch factors"], size: int, present: Mapping[str, Float[Tensor, " batch"]]
    ) -> None:
        self.present = present
        super().__init__(factors, size)

    def _cover(self) -> None:
        super()._cover()
        for thing, covers in THINGS.items():
            for cover in covers:
                setattr(self, cover, getattr(self, cover) * self.present[thing][:, None, None])

    def seen(self) -> dict[str, Plane]:
        """The renderer's masks, each of what is seen."""
        found = self.masks()
        power = self.power("lamp")
        found["glow"] = found["glow"] * (power > _LIT)
        found["reflection"] = found["reflection"] * (power * self.value["gloss"] > _SHINY)
        found["window"] = found["window"] * (1 - self.shade) * (1 - self.pendant)
        return found


def furnished(
    factors: Float[Tensor, "batch factors"],
    *,
    size: int = SIDE,
    present: Mapping[str, Float[Tensor, " batch"]] | None = None,
) -> Rendering:
    """Rooms with these things in them (1 or 0 for each room; None: all), and masks of what is seen."""
    everything = dict.fromkeys(THINGS, torch.ones(len(factors)))
    scene = Furnished(factors, size, {**everything, **(present or {})})
    return Rendering(scene.paint(), scene.seen())


def some_missing(count: int, generator: torch.Generator, *, complete: float = 0.5) -> dict[str, Float[Tensor, " n"]]:
    """Which things stand in each room: all of them in a share of the rooms, most of them in the others."""
    whole = torch.rand(count, generator=generator) < complete
    return {thing: (whole | (torch.rand(count, generator=generator) > _GAP)).float() for thing in THINGS}


def drawn(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures and masks (count x classes x size x size) to learn from: a cut of the room, mirrored for half of them,
    blurred, noisy and in another light, since a generator's rooms are not as sharp as the renderer's."""
    share, x, y, blur, flip = torch.rand(5, generator=generator).tolist()
    side = round(size * (1 + 0.35 * share))
    factors = factors_of(torch.randn(count, Z_DIM, generator=generator))
    rooms = furnished(factors, size=side, present=some_missing(count, generator))
    left, top = round(x * (side - size)), round(y * (side - size))
    part = (..., slice(top, top + size), slice(left, left + size))
    pictures, masks = rooms.images[part], torch.stack(list(rooms.masks.values()), 1)[part]
    if flip < 0.5:
        pictures, masks = pictures.flip(-1), masks.flip(-1)
    if blur < 0.6:
        small = max(16, round(size * (1 - 0.7 * blur)))
        pictures = nnf.interpolate(pictures, size=(small, small), mode="bilinear", antialias=True)
        pictures = nnf.interpolate(pictures, size=(size, size), mode="bilinear")
    light = 1 + 0.2 * (torch.rand(count, 3, 1, 1, generator=generator) - 0.5)
    noise = 0.06 * torch.rand(count, 1, 1, 1, generator=generator)
    pictures = (pictures + 1) * light - 1 + noise * torch.randn(pictures.shape, generator=generator)
    return pictures.clamp(-1, 1), masks
