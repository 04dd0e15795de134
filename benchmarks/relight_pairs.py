"""A relighter trained on pairs from the generator's switch beside one trained on rendered rooms, the same steps each.

    OMP_NUM_THREADS=1 python benchmarks/relight_pairs.py --steps 800 --out out/pairs [--folder traced]

Two fresh networks, one schedule (seed, sizes, rate). *switch*: the embedded generator under the switch that
`solve_control` finds on four of its lamps (`styles train-relighter --pairs switch`), half of the pictures lit and half
dark, as Cui et al. 2022 make theirs. *rooms*: the renderer's own rooms, where the truth is exact. Both are measured on
rooms that neither saw: the renderer's with the table lamp alone lit, since the switch knows no other; the generator's
under the switch; and, with `--folder`, off/NAME.png and on/NAME.png, such as those of benchmarks/traced_rooms.py. Runs
are left in `--out` and go on where they stopped. Intervals are 95 % over rooms (normal).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import styles
from styles.demo.measure import HELD_OUT, draw
from styles.demo.renderer import factors_of, render
from styles.relighting.measures import mse, ssim
from styles.relighting.photographs import open_photo, tensor_of
from styles.relighting.rooms import switched_rooms, with_powers

Case = tuple[str, str, Tensor, float, Tensor | None, Tensor]
"""Whose pictures, what is asked in words, the pictures, the fraction, the mask of one lamp, the truth."""
LIT = ((1.0, 0.0), (1.0, 0.5), (0.0, 1.0))
"""Light that the lamp has, and the fraction that is asked for."""


def said(start: float, fraction: float) -> str:
    return f"{'on' if start else 'off'} to {fraction:g}"


def rendered(count: int, size: int) -> Iterator[Case]:
    """The table lamp alone, at full power or off."""
    factors = factors_of(draw(HELD_OUT + 91, count))

    def painted(share: float) -> Tensor:
        powers = torch.tensor([[share, 0.0]]).expand(count, -1)
        return render(with_powers(factors, powers), size=size).images

    for start, fraction in LIT:
        yield "rendered", said(start, fraction), painted(start), fraction, None, painted(fraction)
    shade = render(factors, size=size).masks["shade"][:, None]
    yield "rendered", "off to 1, by mask", painted(0.0), 1.0, shade, painted(1.0)


@torch.no_grad()
def generated(count: int) -> Iterator[Case]:
    """The generator's rooms whose lamp burns, under the switch."""
    pairs = switched_rooms()
    w, strength = pairs.burning(count, torch.Generator().manual_seed(HELD_OUT + 92))

    def painted(share: float) -> Tensor:
        parts = zip(w.split(32), strength.split(32), strict=True)
        return torch.cat([pairs.painted(a, b * (1 - share)) for a, b in parts])

    for start, fraction in LIT:
        yield "the generator's", said(start, fraction), painted(start), fraction, None, painted(fraction)


def photographed(root: Path) -> Iterator[Case]:
    """Aligned pictures of one size in a folder."""
    off, on = (
        torch.stack([tensor_of(open_photo(path)) for path in sorted((root / side).glob("*.png"))])
        for side in ("off", "on")
    )
    yield "path-traced", said(1.0, 0.0), on, 0.0, None, off
    yield "path-traced", said(0.0, 1.0), off, 1.0, None, on


def interval(values: Tensor) -> str:
    """Mean and half of the 95 % interval."""
    return f"{float(values.mean()):.4f} ± {1.96 * float(values.std()) / len(values) ** 0.5:.4f}"


@torch.no_grad()
def relit(net: styles.Relighter, photos: Tensor, fraction: float, mask: Tensor | None) -> Tensor:
    """What the network makes of them, without rounding."""
    region = torch.ones_like(photos[:, :1]) if mask is None else mask
    parts = zip(photos.split(25), region.split(25), strict=True)
    return torch.cat([net(a, torch.full((len(a),), fraction), b) for a, b in parts]).clamp(-1, 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("out/pairs"))
    parser.add_argument("--folder", type=Path, help="aligned pictures to measure on too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    schedule = styles.Schedule(steps=given.steps, sizes=(64, 64, 96), average=0.995)
    nets = {
        name: styles.train_relighter(name, given.out / name, schedule=schedule).cpu() for name in ("rooms", "switch")
    }
    size = styles.load_generator("demo", device="cpu").config.resolution
    cases = [*rendered(given.rooms, size), *generated(given.rooms)]
    cases += photographed(given.folder) if given.folder else []
    print("| pictures | asked | MSE: rooms | switch | as it is | SSIM: rooms | switch | as it is |")
    print("| --- " * 8 + "|")
    for whose, asked, photos, fraction, mask, truth in cases:
        made = [*(relit(net, photos, fraction, mask) for net in nets.values()), photos]
        cells = [interval(measure(each, truth)) for measure in (mse, ssim) for each in made]
        print(f"| {whose} | {asked} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
