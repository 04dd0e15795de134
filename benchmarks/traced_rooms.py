"""Rooms that a path tracer painted, off and on: a test set that neither the renderer nor a generator made.

    python benchmarks/traced_rooms.py FOLDER        # writes off/NAME.png and on/NAME.png; needs `pip install mitsuba`

Boxes of random size and colours with a table, a lamp (a bulb in a shade that glows, open above and below), a bed, a
picture, a window and some light from the open side. Two passes of a room are traced: the lamp alone, and all but the
lamp; light adds up, so that the room with its lamp on is their sum.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np
from PIL import Image

mi.set_variant("scalar_rgb")
Look = mi.ScalarTransform4f


def diffuse(rng: random.Random, low: float, high: float) -> dict[str, Any]:
    """A matt colour, its channels near each other."""
    base = rng.uniform(low, high)
    tint = [min(0.95, max(0.02, base * rng.uniform(0.7, 1.3))) for _ in range(3)]
    return {"type": "twosided", "inner": {"type": "diffuse", "reflectance": {"type": "rgb", "value": tint}}}


def wall(to: Any, paint: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rectangle", "to_world": to, "bsdf": paint}


def block(
    centre: tuple[float, float, float], half: tuple[float, float, float], paint: dict[str, Any]
) -> dict[str, Any]:
    return {"type": "cube", "to_world": Look().translate(list(centre)).scale(list(half)), "bsdf": paint}


def glowing(shape: dict[str, Any], colour: list[float], strength: float) -> dict[str, Any]:
    radiance = {"type": "rgb", "value": [strength * value for value in colour]}
    return {**shape, "emitter": {"type": "area", "radiance": radiance}}


def room(seed: int, *, lamp: bool, size: int) -> dict[str, Any]:
    """The scene with its lamp's light alone, or with all other light alone. x right, y up, z towards the camera."""
    rng = random.Random(seed)
    paint = diffuse(rng, 0.3, 0.75)
    width, high = rng.uniform(1.6, 2.2), rng.uniform(2.3, 2.8)
    x, z, top = rng.uniform(-0.7, 0.7), rng.uniform(-1.1, -0.5), rng.uniform(0.5, 0.75)
    warm = rng.random()
    colour = [0.9 + 0.35 * warm, 0.9 - 0.2 * warm, 1.1 - 0.75 * warm]
    radius, tall = rng.uniform(0.18, 0.3), rng.uniform(0.14, 0.2)
    bulb, power, day = top + 0.32 + tall, rng.uniform(0.5, 1.4), rng.uniform(0.0, 0.5)
    shade = {
        "type": "cylinder", "p0": [x, bulb - tall, z], "p1": [x, bulb + tall, z], "radius": radius,
        "bsdf": diffuse(rng, 0.55, 0.75),
    }  # fmt: skip
    light = {"type": "sphere", "center": [x, bulb, z], "radius": 0.1, "bsdf": diffuse(rng, 0.6, 0.8)}
    side = -1 if rng.random() < 0.5 else 1
    pane = wall(Look().translate([-side * width * 0.6, 1.6, -1.98]).scale([0.35, 0.45, 1]), diffuse(rng, 0.05, 0.1))
    cold = [0.6, 0.8, 1.0]
    scene: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 5},
        "sensor": {
            "type": "perspective", "fov": rng.uniform(44, 54), "fov_axis": "x",
            "to_world": Look().look_at(origin=[0, 1.3, 3.0], target=[rng.uniform(-0.2, 0.2), 1.05, 0], up=[0, 1, 0]),
            "film": {"type": "hdrfilm", "width": size, "height": size, "pixel_format": "rgb"},
            "sampler": {"type": "independent", "sample_count": 1},
        },
        "floor": wall(Look().rotate([1, 0, 0], -90).scale([3, 3, 1]), diffuse(rng, 0.15, 0.5)),
        "ceiling": wall(Look().translate([0, high, 0]).rotate([1, 0, 0], 90).scale([3, 3, 1]), diffuse(rng, 0.7, 0.85)),
        "back": wall(Look().translate([0, 1.5, -2]).scale([3, 3, 1]), paint),
        "left": wall(Look().translate([-width, 1.5, 0]).rotate([0, 1, 0], 90).scale([3, 3, 1]), paint),
        "right": wall(Look().translate([width, 1.5, 0]).rotate([0, 1, 0], -90).scale([3, 3, 1]), paint),
        "table": block((x, top - 0.03, z), (0.3, 0.03, 0.25), diffuse(rng, 0.1, 0.35)),
        "leg": block((x, top / 2, z), (0.22, top / 2 - 0.03, 0.2), diffuse(rng, 0.08, 0.3)),
        "stem": block((x, top + 0.16, z), (0.025, 0.16, 0.025), diffuse(rng, 0.1, 0.4)),
        "bed": block((side * width * 0.75, 0.25, -0.9), (0.55, 0.25, 0.9), diffuse(rng, 0.2, 0.7)),
        "picture": block((side * width * 0.45, 1.75, -1.98), (0.28, 0.2, 0.02), diffuse(rng, 0.1, 0.7)),
        "shade": glowing(shade, colour, 1.1 * power) if lamp else shade,
        "bulb": glowing(light, colour, 10 * power) if lamp else light,
        "window": pane if lamp else glowing(pane, cold, 0.2 + 2.0 * day),
    }  # fmt: skip
    if not lamp:
        scene["room"] = {"type": "constant", "radiance": {"type": "rgb", "value": [rng.uniform(0.05, 0.2)] * 3}}
    return scene


def traced(seed: int, *, lamp: bool, size: int, samples: int) -> np.ndarray:
    """Linear light, h x w x rgb."""
    return np.array(mi.render(mi.load_dict(room(seed, lamp=lamp, size=size)), spp=samples, seed=seed))


def developed(light: np.ndarray) -> Image.Image:
    """8-bit sRGB; the exposure is the same for every room."""
    linear = np.clip(light * 2.5, 0, 1)
    display = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-8) ** (1 / 2.4) - 0.055)
    return Image.fromarray((display * 255).round().astype(np.uint8))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rooms", type=int, default=40)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--samples", type=int, default=256, help="paths a pixel")
    given = parser.parse_args()
    for side in ("off", "on"):
        (given.folder / side).mkdir(parents=True, exist_ok=True)
    for seed in range(given.rooms):
        rest, lamp = (traced(seed, lamp=on, size=given.size, samples=given.samples) for on in (False, True))
        developed(rest).save(given.folder / "off" / f"{seed:03}.png")
        developed(rest + lamp).save(given.folder / "on" / f"{seed:03}.png")
        print(seed, f"mean light off {rest.mean():.3f}, lamp {lamp.mean():.3f}", flush=True)


if __name__ == "__main__":
    main()
