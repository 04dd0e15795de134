"""A procedural bedroom with known light factors: the ground truth that unit rankings are scored against.

Every picture follows from 24 numbers in [0, 1] (`FACTORS`), drawn from a latent z by `factors_of`. Light is computed in
linear RGB (albedo · (ambient + lamps / d²) + glowing shades + glossy floor), then tone-mapped and put into display
gamma. Axes: batch, rgb, h, w. x runs from -1 (left) to 1, y from 0 (top) to 1; half a unit of x is as long as one of y.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

FACTORS: tuple[str, ...] = (
    "lamp", "warmth", "shade_size", "lamp_x", "gloss", "ambient", "day", "window_x",
    "window_width", "wall_light", "wall_a", "wall_b", "floor_light", "floor_a", "bed_a", "bed_b",
    "bed_light", "bed_height", "picture_x", "picture_a", "picture_b", "horizon", "pendant", "shade_tint",
)  # fmt: skip
MASKS: tuple[str, ...] = ("shade", "reflection", "glow", "floor", "window", "pendant", "bed", "picture", "wall")
Z_DIM = 32
SIDE = 128
"""Pixels of a side of the embedded rooms."""
EXPOSURE = 1.5

Plane = Float[Tensor, "batch h w"]
Colour = Float[Tensor, "batch rgb 1 1"]
Image = Float[Tensor, "batch rgb h w"]


@dataclass(frozen=True)
class Rendering:
    """Pictures and what is known about them."""

    images: Image
    """Display values in [-1, 1]."""
    masks: dict[str, Plane]
    """Soft masks in [0, 1], one per name of `MASKS`; `reflection` covers the lamp's mirror image on the floor."""


def factors_of(z: Float[Tensor, "batch d_z"]) -> Float[Tensor, "batch factors"]:
    """The factors of a latent: the normal distribution function of the first entries of z at second moment 1."""
    if z.ndim != 2 or z.shape[1] < len(FACTORS):
        raise ValueError(f"z must be batch x {Z_DIM}, got {tuple(z.shape)}.")
    unit = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
    return torch.special.ndtr(unit[:, : len(FACTORS)])


def render(factors: Float[Tensor, "batch factors"], *, size: int = SIDE) -> Rendering:
    """Paint the rooms of some factors at size x size pixels."""
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS):
        raise ValueError(f"factors must be batch x {len(FACTORS)} ({', '.join(FACTORS)}), got {tuple(factors.shape)}.")
    scene = Scene(factors, size)
    return Rendering(scene.paint(), scene.masks())


class Scene:
    """Geometry, surfaces and lights of a batch of rooms on one pixel grid."""

    def __init__(self, factors: Float[Tensor, "batch factors"], size: int) -> None:
        steps = (torch.arange(size, device=factors.device, dtype=factors.dtype) + 0.5) / size
        self.y, self.x = steps[None, :, None], (2 * steps - 1)[None, None, :]
        self.pixel = 1.0 / size
        self.value = {name: factors[:, i, None, None] for i, name in enumerate(FACTORS)}
        self._place()
        self._cover()

    def span(self, name: str, low: float, high: float) -> Plane:
        """A factor stretched to a range."""
        return low + (high - low) * self.value[name]

    def power(self, name: str) -> Plane:
        """A lamp's intensity in [0, 1]; the lowest fifth of the factor is off."""
        return ((self.value[name] - 0.2) / 0.8).clamp_min(0.0)

    def step(self, distance: Plane) -> Plane:
        """1 inside (distance > 0, in units of y), 0 outside, one pixel of antialiasing."""
        return (distance / self.pixel + 0.5).clamp(0.0, 1.0)

    def box(self, left: Plane, right: Plane, top: Plane, bottom: Plane) -> Plane:
        """Coverage of an upright rectangle."""
        across = self.step((self.x - left) / 2) * self.step((right - self.x) / 2)
        return across * self.step(self.y - top) * self.step(bottom - self.y)

    def _place(self) -> None:
        """Where things stand."""
        self.horizon = self.span("horizon", 0.60, 0.68)
        self.lamp_x = self.span("lamp_x", -0.22, 0.14)
        self.table_top, self.foot = self.horizon - 0.035, self.horizon + 0.075
        self.shade_height = self.span("shade_size", 0.10, 0.19)
        self.shade_half = self.span("shade_size", 0.13, 0.27)
        self.shade_bottom = self.table_top - 0.075
        self.shade_top = self.shade_bottom - self.shade_height
        self.bulb = (self.shade_bottom + self.shade_top) / 2
        self.bed_left = torch.full_like(self.lamp_x, 0.42)
        self.bed_top = self.horizon - self.span("bed_height", 0.0, 0.07)
        self.window_left = self.span("window_x", -0.92, -0.80)
        self.window_right = self.window_left + self.span("window_width", 0.32, 0.50)
        self.picture_x = self.span("picture_x", 0.55, 0.78)
        self.pendant_x = torch.full_like(self.lamp_x, 0.22)

    def _cover(self) -> None:
        """Which pixels each thing covers, nearer things last."""
        top, low = torch.zeros_like(self.lamp_x), torch.ones_like(self.lamp_x) * 1.1
        self.floor = self.step(self.y - self.horizon).expand(-1, -1, self.x.shape[-1])
        self.window = self.box(self.window_left, self.window_right, top + 0.16, top + 0.46)
        self.frame = self.box(self.window_left - 0.05, self.window_right + 0.05, top + 0.135, top + 0.485)
        self.picture = self.box(self.picture_x - 0.15, self.picture_x + 0.15, top + 0.20, top + 0.38)
        self.picture_frame = self.box(self.picture_x - 0.19, self.picture_x + 0.19, top + 0.18, top + 0.40)
        self.headboard = self.box(self.bed_left, low, self.bed_top - 0.09, self.horizon)
        self.bed = self.box(self.bed_left - 0.04, low, self.bed_top, self.horizon + 0.17)
        self.pillow = self.box(self.bed_left + 0.06, self.bed_left + 0.34, self.bed_top - 0.025, self.bed_top + 0.045)
        self.table = self.box(self.lamp_x - 0.17, self.lamp_x + 0.17, self.table_top, self.foot)
        self.stem = self.box(self.lamp_x - 0.025, self.lamp_x + 0.025, self.shade_bottom, self.table_top)
        down = ((self.y - self.shade_top) / self.shade_height).clamp(0.0, 1.0)
        half = self.shade_half * (0.6 + 0.4 * down)
        upright = self.step(self.y - self.shade_top) * self.step(self.shade_bottom - self.y)
        self.shade = upright * self.step((half - (self.x - self.lamp_x).abs()) / 2)
        ball = ((self.x - self.pendant_x) / 2).square() + (self.y - 0.15).square()
        self.pendant = self.step(0.05 - (ball + 1e-9).sqrt())
        self.cord = self.box(self.pendant_x - 0.012, self.pendant_x + 0.012, top - 0.1, top + 0.10)

    def lamp_colour(self) -> Colour:
        """From bluish white to deep orange."""
        warm = self.value["warmth"][:, None]
        cold, hot = self._rgb(0.80, 0.92, 1.15), self._rgb(1.25, 0.62, 0.22)
        return cold + (hot - cold) * warm

    def _rgb(self, *values: float) -> Colour:
        return _constant(values, self.x.device, self.x.dtype)[None, :, None, None]

    def paint_of(self, light: Plane, a: Plane, b: Plane) -> Colour:
        """An albedo of a lightness and two colour axes (red-blue, green-magenta) in [-1, 1]."""
        tint = 1 + 0.45 * a[:, None] * self._rgb(1.0, 0.0, -1.0) + 0.30 * b[:, None] * self._rgb(-0.6, 1.0, -0.6)
        return (light[:, None] * tint).clamp(0.02, 0.98)

    def albedo(self) -> Image:
        """The colour of every surface, painted from back to front."""
        span = self.span
        image = self.paint_of(span("wall_light", 0.30, 0.75), span("wall_a", -0.8, 0.8), span("wall_b", -0.8, 0.8))
        wood = self.paint_of(span("floor_light", 0.16, 0.50), span("floor_a", 0.0, 1.0), torch.zeros_like(self.lamp_x))
        image = over(image, wood * self._planks()[:, None], self.floor)
        skirting = self.step(self.y - self.horizon + 0.025) * (1 - self.floor)
        image = over(image, self._rgb(0.7, 0.7, 0.7), skirting.expand_as(self.floor))
        image = over(image, self._rgb(0.75, 0.74, 0.72), self.frame)
        image = over(image, self._rgb(0.22, 0.15, 0.10), self.picture_frame)
        art = self.paint_of(torch.full_like(self.lamp_x, 0.5), span("picture_a", -1, 1) * 1.6, span("picture_b", -1, 1))
        image = over(image, art, self.picture)
        image = over(image, self._rgb(0.28, 0.17, 0.10), self.headboard)
        cloth = self.paint_of(span("bed_light", 0.25, 0.75), span("bed_a", -1, 1) * 1.4, span("bed_b", -1, 1))
        fold = 1 - 0.45 * self.step(self.y - self.bed_top - 0.07)
        image = over(image, cloth * fold[:, None], self.bed)
        image = over(image, self._rgb(0.85, 0.84, 0.80), self.pillow)
        drawer = 1 - 0.35 * self.box(self.lamp_x - 0.13, self.lamp_x + 0.13, self.table_top + 0.025, self.foot - 0.02)
        image = over(image, self._rgb(0.36, 0.23, 0.13) * drawer[:, None], self.table)
        image = over(image, self._rgb(0.30, 0.26, 0.20), self.stem)
        image = over(image, self._shade_cloth(), self.shade)
        image = over(image, self._rgb(0.1, 0.1, 0.1), self.cord)
        return over(image, self._rgb(0.8, 0.8, 0.8), self.pendant)

    def _shade_cloth(self) -> Colour:
        return self.paint_of(
            torch.full_like(self.lamp_x, 0.62), self.span("shade_tint", -0.4, 0.8), torch.zeros_like(self.lamp_x)
        )

    def _planks(self) -> Plane:
        """Joints between floor boards that run towards a vanishing point."""
        depth = (self.y - self.horizon + 0.12).clamp_min(0.05)
        across = self.x / depth * 0.55
        joint = (across - across.round()).abs() * depth * 2
        return 1 - 0.30 * (1 - joint / 0.05).clamp(0.0, 1.0)

    def light(self) -> Image:
        """Linear light that falls on every pixel."""
        sky = self.value["day"][:, None] * self._rgb(0.85, 0.95, 1.1)
        room = self.span("ambient", 0.04, 0.24)[:, None] * self._rgb(1.0, 0.98, 0.95) + 0.04 * sky
        return room + self._window_light()[:, None] * sky + self._lamp_light() + self._pendant_light()

    def _window_light(self) -> Plane:
        centre = (self.window_left + self.window_right) / 2
        distance = ((self.x - centre) / 2).square() + ((self.y - 0.62) * 0.8).square()
        return 0.25 * torch.exp(-distance / 0.07)

    def _lamp_light(self) -> Image:
        power = self.power("lamp")[:, None] * self.lamp_colour()
        return power * self.lamp_pool()[:, None]

    def lamp_pool(self) -> Plane:
        """The lamp's light per unit of power: cones through the open shade, 1/d², and what the cloth passes."""
        dx, dy = (self.x - self.lamp_x) / 2, self.y - self.bulb
        square = dx.square() + dy.square()
        slope = self.shade_half / self.shade_height
        cone = torch.sigmoid((dy.abs() * slope * 0.75 - dx.abs()) / 0.035)
        fall = 0.045 / (square + 0.02)
        return fall * (0.22 + 0.95 * cone) * (1 - 0.75 * self.shade)

    def _pendant_light(self) -> Image:
        square = ((self.x - self.pendant_x) / 2).square() + (self.y - 0.15).square()
        power = 0.8 * self.power("pendant") * (0.03 / (square + 0.035) + 0.10)
        return power[:, None] * self._rgb(1.0, 0.95, 0.85)

    def mirror(self) -> Plane:
        """Where the glossy floor shows the lamp: its mirror image, drawn out downwards."""
        dx, dy = (self.x - self.lamp_x) / 2, self.y - (2 * self.foot - self.bulb)
        shape = torch.exp(-(dx / (0.32 * self.shade_half + 0.02)).square() - (dy / 0.13).square())
        return shape * self._bare_floor()

    def _bare_floor(self) -> Plane:
        return self.floor * (1 - self.bed) * (1 - self.table)

    def gloss_light(self) -> Image:
        """Highlights on the floor: the lamp's and, fainter, the window's."""
        gloss = self.value["gloss"][:, None]
        lamp = self.power("lamp")[:, None] * self.lamp_colour() * self.mirror()[:, None] * 0.9
        centre = (self.window_left + self.window_right) / 2
        across = torch.exp(-(((self.x - centre) / 2) / 0.10).square() - ((self.y - 0.84) / 0.14).square())
        window = (across * self._bare_floor())[:, None] * self.value["day"][:, None] * self._rgb(0.85, 0.95, 1.1) * 0.35
        return gloss * (lamp + window)

    def glow(self) -> Image:
        """What shines by itself: lampshade, pendant and sky."""
        centre = 1 - 0.5 * ((self.y - self.bulb).abs() / self.shade_height).clamp_max(1.0)
        shade = (self.power("lamp") * centre * self.shade)[:, None] * self.lamp_colour() * self._shade_cloth() * 2.2
        pendant = (1.3 * self.power("pendant") * self.pendant)[:, None] * self._rgb(1.0, 0.95, 0.85)
        height = ((self.y - 0.16) / 0.30).clamp(0.0, 1.0)[:, None]
        day, night = (
            self._rgb(0.45, 0.75, 1.15) * (1 - height) + self._rgb(0.9, 1.0, 1.1) * height,
            self._rgb(0.01, 0.02, 0.07),
        )
        bars = self._bars()[:, None]
        sky = (night + (day - night) * self.value["day"][:, None]) * (self.window[:, None] * (1 - bars))
        return shade + pendant + sky

    def _bars(self) -> Plane:
        centre = (self.window_left + self.window_right) / 2
        upright = self.step(0.008 - (self.x - centre).abs() / 2)
        return torch.maximum(upright, self.step(0.008 - (self.y - 0.31).abs()))

    def paint(self) -> Image:
        """Display values in [-1, 1]: 1 - exp(-exposure · light), then gamma 1/2.2."""
        pane = (self.window * (1 - self._bars()))[:, None]
        linear = self.albedo() * self.light() * (1 - 0.9 * pane) + self.gloss_light() + self.glow()
        return (1 - torch.exp(-EXPOSURE * linear)).clamp_min(1e-4).pow(1 / 2.2) * 2 - 1

    def masks(self) -> dict[str, Plane]:
        """Soft masks, nearer things cut out of farther ones."""
        wall = (1 - self.floor) * (1 - self.frame) * (1 - self.picture_frame) * (1 - self.shade) * (1 - self.pendant)
        wall = wall * (1 - torch.maximum(self.bed, self.headboard)) * (1 - self.table)
        found = {
            "shade": self.shade, "reflection": (2.5 * self.mirror() - 0.75).clamp(0.0, 1.0),
            "glow": (1.5 * self.lamp_pool() - 0.4).clamp(0.0, 1.0) * wall, "floor": self._bare_floor(),
            "window": self.window, "pendant": self.pendant, "bed": self.bed, "picture": self.picture, "wall": wall,
        }  # fmt: skip
        return {name: found[name] for name in MASKS}


@lru_cache
@torch.inference_mode(False)
def _constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A colour, copied to a device once."""
    return torch.tensor(values, device=device, dtype=dtype)


def over(image: Image, paint: Image, cover: Plane) -> Image:
    """Paint on an image where `cover` is 1."""
    return image + cover[:, None] * (paint - image)
