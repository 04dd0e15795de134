"""The relighter on the renderer's own rooms that nobody trained on, against no change and against a brightness slider.

    OMP_NUM_THREADS=1 python benchmarks/relight.py --strip relight.png [--net other.safetensors] [--folder traced]

Every room is painted by the renderer with its lamps on and at the asked fraction: the pairs are aligned and exact. All
lamps (table lamp and pendant, a quarter to all of their power) are dimmed to 0, a quarter, a half and three quarters;
lit from off to 1; left as they are (fraction 1); or only the table lamp is dimmed, by its mask. Intervals are 95 %
over rooms (normal, the rooms are independent). `--folder` measures on off/NAME.png and on/NAME.png instead, such as
those of benchmarks/traced_rooms.py; what lies between is mixed in linear light.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import styles
from styles.demo.measure import HELD_OUT, draw
from styles.demo.renderer import factors_of, render
from styles.pictures import grid, save_picture
from styles.relighting.batches import mixed_light
from styles.relighting.measures import lmse, mse, scaled, ssim
from styles.relighting.photographs import open_photo, tensor_of
from styles.relighting.rooms import with_powers

MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"MSE": mse, "LMSE": lmse, "SSIM": ssim}

HEAD = "| asked | " + " | ".join(f"{name} net | none | slider" for name in MEASURES) + " |\n" + "| --- " * 10 + "|"


@dataclass(frozen=True)
class Rooms:
    """Unseen rooms with both lamps lit, each at its own power."""

    factors: Tensor
    powers: Tensor
    size: int

    @classmethod
    def drawn(cls, count: int, size: int) -> Rooms:
        powers = torch.rand(count, 2, generator=torch.Generator().manual_seed(HELD_OUT + 12))
        return cls(factors_of(draw(HELD_OUT + 11, count)), 0.25 + 0.75 * powers, size)

    def painted(self, share: Tensor) -> Tensor:
        """With the table lamp and the pendant at these shares of their power."""
        return render(with_powers(self.factors, self.powers * share), size=self.size).images

    def full(self) -> Tensor:
        """With both lamps at full power."""
        return render(with_powers(self.factors, torch.ones_like(self.powers)), size=self.size).images

    def shade(self) -> Tensor:
        return render(self.factors, size=self.size).masks["shade"]


def relit(net: styles.Relighter, photos: Tensor, fraction: float, mask: Tensor | None) -> Tensor:
    """What `styles.relight` makes of pictures; those that the network's side holds are not rounded to 8 bits."""
    if photos.shape[-1] > net.side:
        marks = [None] * len(photos) if mask is None else list(mask)
        photographs = zip(styles.to_pil(photos), marks, strict=True)
        return torch.stack([tensor_of(styles.relight(net, photo, fraction, mark)) for photo, mark in photographs])
    region = torch.ones_like(photos[:, :1]) if mask is None else mask[:, None]
    with torch.no_grad():
        made = [
            net(a, torch.full((len(a),), fraction), b) for a, b in zip(photos.split(25), region.split(25), strict=True)
        ]
    return torch.cat(made).clamp(-1, 1)


def interval(values: Tensor) -> str:
    """Mean and half of the 95 % interval."""
    return f"{float(values.mean()):.5f} ± {1.96 * float(values.std()) / len(values) ** 0.5:.5f}"


def line(name: str, photos: Tensor, painted: Tensor, truth: Tensor) -> str:
    """One row: the network, no change, and the best brightness, by each measure."""
    cells = [name]
    for measure in MEASURES.values():
        cells += [interval(measure(made, truth)) for made in (painted, photos, scaled(photos, truth))]
    return "| " + " | ".join(cells) + " |"


def table(net: styles.Relighter, rooms: Rooms) -> None:
    print(HEAD)
    on, off = rooms.painted(torch.tensor([1.0, 1.0])), rooms.painted(torch.tensor([0.0, 0.0]))
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        truth = rooms.painted(torch.tensor([fraction, fraction]))
        print(line(f"on to {fraction:g}", on, relit(net, on, fraction, None), truth), flush=True)
    print(line("off to 1", off, relit(net, off, 1.0, None), rooms.full()), flush=True)
    alone = rooms.painted(torch.tensor([0.0, 1.0]))
    print(line("table lamp to 0, by mask", on, relit(net, on, 0.0, rooms.shade()), alone), flush=True)


def folder(net: styles.Relighter, root: Path, path: Path | None) -> None:
    """The same table on aligned pictures of one size; a strip of the first six: lit, dimmed to 0, off, lit from off."""
    off, on = (
        torch.stack([tensor_of(open_photo(path)) for path in sorted((root / side).glob("*.png"))])
        for side in ("off", "on")
    )
    print(HEAD)
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        truth = mixed_light(off, on, torch.full((len(on),), fraction))
        print(line(f"on to {fraction:g}", on, relit(net, on, fraction, None), truth), flush=True)
    print(line("off to 1", off, relit(net, off, 1.0, None), on), flush=True)
    if path is not None:
        a, b = on[:6], off[:6]
        save_picture(grid(torch.cat([a, relit(net, a, 0.0, None), b, relit(net, b, 1.0, None)]), columns=6), path)


def strip(net: styles.Relighter, rooms: Rooms, count: int, path: Path) -> None:
    """Each room twice: relit above, truth below, at 0 to 1 from lit, then lit from off."""
    few = Rooms(rooms.factors[:count], rooms.powers[:count], 64)
    on, off = few.painted(torch.tensor([1.0, 1.0])), few.painted(torch.tensor([0.0, 0.0]))
    steps = (0.0, 0.25, 0.5, 0.75, 1.0)
    made = [on, *(relit(net, on, step, None) for step in steps), off, relit(net, off, 1.0, None)]
    true = [on, *(few.painted(torch.tensor([step, step])) for step in steps), off, few.full()]
    rows = torch.stack([torch.stack(made, 1), torch.stack(true, 1)], 1)
    save_picture(grid(rows.flatten(0, 2), columns=len(made)), path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="demo", help="'demo' or a relighter's file")
    parser.add_argument("--rooms", type=int, default=300)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="measure on this folder's pairs instead")
    parser.add_argument("--strip", type=Path, help="also write a strip of rooms")
    given = parser.parse_args()
    torch.set_num_threads(1)
    net = styles.load_relighter(given.net, device="cpu")
    if given.folder is not None:
        return folder(net, given.folder, given.strip)
    rooms = Rooms.drawn(given.rooms, given.size)
    table(net, rooms)
    if given.strip is not None:
        strip(net, rooms, 2, given.strip)


if __name__ == "__main__":
    main()
