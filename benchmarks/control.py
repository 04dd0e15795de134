"""A switch solved on one marked room, measured on 200 rooms that nobody marked, against the renderer's own switch.

    OMP_NUM_THREADS=1 python benchmarks/control.py --strips strips/

The factors are read off pictures by a ridge regression that was fitted on rendered rooms alone (`FactorReader`). It
errs, and what it reads of a lamp's warmth or size means little once the lamp is off; so the renderer's own switch, on
the same rooms, read by the same reader, stands beside every figure.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as nnf

import styles
from styles.demo.measure import HELD_OUT, FactorReader, draw, rooms
from styles.demo.renderer import FACTORS, factors_of, render
from styles.pictures import grid
from styles.units.goals import luminance, region_mean, surroundings

Strength = float | Tensor


class Rooms:
    """Unseen rooms whose light of one kind burns (factor above 0.5)."""

    def __init__(self, model: styles.Generator, reader: FactorReader, factor: str, mask: str, count: int) -> None:
        self.model, self.reader, self.at = model, reader, FACTORS.index(factor)
        z = draw(HELD_OUT + 7, 8 * 200 + 64)
        z = z[factors_of(z)[:, self.at] > 0.5][:count]
        self.factors, self.w = factors_of(z), model.map(z)
        self.masks = render(self.factors).masks
        self.mask = self.masks[mask]
        self.around = surroundings(self.mask) * self.masks["wall"]
        self.before = self.paint()
        self.read = reader.read(self.before)

    def __len__(self) -> int:
        return len(self.w)

    @torch.no_grad()
    def paint(self) -> Tensor:
        return torch.cat([self.model.synthesize(part) for part in self.w.split(50)])

    def after(self, edit: styles.UnitEdit, strength: Strength) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.one(edit, strength, part) for part in torch.arange(len(self)).split(50)])

    def one(self, edit: styles.UnitEdit, strength: Strength, part: Tensor) -> Tensor:
        with edit.applied(self.model, strength=strength[part] if isinstance(strength, Tensor) else strength):
            return self.model.synthesize(self.w[part])

    def level(self, pictures: Tensor, mask: Tensor) -> Tensor:
        return region_mean(luminance(pictures) + 0.5, mask)[:, 0]

    def row(self, name: str, after: Tensor, before: Tensor | None = None) -> str:
        """One line of the table, without the marked room itself (row 0 of nothing: it is one of 200)."""
        start = self.read if before is None else self.reader.read(before)
        now = self.reader.read(after)
        moved = now - start
        gap = (self.level(after, self.mask) - self.level(after, self.around)).abs()
        power = ((now[:, self.at] - 0.2) / 0.8).clamp_min(0)
        others = [k for k in range(len(FACTORS)) if k != self.at]
        mean = moved.mean(0)
        worst = sorted(others, key=lambda k: -abs(float(mean[k])))[:3]
        far = sum(abs(float(mean[k])) > 0.05 for k in others)
        told = ", ".join(f"{FACTORS[k]} {float(mean[k]):+.2f}" for k in worst)
        return (
            f"| {name} | {float((gap < 0.1).float().mean()):.0%} | {float(now[:, self.at].mean()):.2f} | "
            f"{float(power.mean()):.3f} | {float(mean[others].abs().mean()):.3f} | {far} | {told} |"
        )

    def renderer(self) -> tuple[Tensor, Tensor]:
        """The renderer's own pictures, lit and off."""
        off = self.factors.clone()
        off[:, self.at] = 0.1
        return rooms(self.factors), rooms(off)

    def typical(self) -> int:
        """The room whose factor is the median of these rooms'."""
        return int(self.factors[:, self.at].argsort()[len(self) // 2])


class Other:
    """Reads all factors but one."""

    def __init__(self, reader: FactorReader, at: int) -> None:
        self.reader, self.columns = reader, [k for k in range(len(FACTORS)) if k != at]

    def __call__(self, pictures: Tensor) -> Tensor:
        return self.reader.read(pictures)[:, self.columns]


HEAD = (
    "| switch | within 0.1 of the wall | read | power | others, mean | others > 0.05 | moved most |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def follow(rooms_: Rooms, edit: styles.UnitEdit, even: Tensor) -> str:
    """Do glow and mirror image go with the lamp? Correlation of the falls of luminance."""
    steps = (0.25, 0.5, 0.75, 1.0)
    frames = [rooms_.after(edit, even * step) for step in steps]
    lit, off = rooms_.renderer()
    told = []
    for name in ("reflection", "glow"):
        fall = torch.stack(
            [rooms_.level(rooms_.before, rooms_.masks[name]) - rooms_.level(f, rooms_.masks[name]) for f in frames]
        )
        lamp = torch.stack([rooms_.level(rooms_.before, rooms_.mask) - rooms_.level(f, rooms_.mask) for f in frames])
        within = torch.stack([torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(fall.T, lamp.T, strict=True)])
        own = rooms_.level(lit, rooms_.masks[name]) - rooms_.level(off, rooms_.masks[name])
        across = torch.corrcoef(torch.stack([fall[-1], own]))[0, 1]
        told.append(
            f"{name}: falls {float(fall[-1].mean()):.3f} (the renderer's own switch: {float(own.mean()):.3f}); "
            f"with the lamp, over four strengths of a room, r = {float(within.median()):.3f} in the median and at "
            f"least 0.9 in {float((within >= 0.9).float().mean()):.0%} of the rooms; with the renderer's own fall, "
            f"over rooms, r = {float(across):.3f}"
        )
    return "\n".join(told)


def strip(rooms_: Rooms, edits: Sequence[styles.UnitEdit], shown: Sequence[int], path: Path) -> None:
    """Rooms from -1 to 1 under each edit, side by side."""
    frames = []
    for edit in edits:
        for strength in (-1.0, -0.5, 0.0, 0.5, 1.0):
            frames.append(rooms_.one(edit, strength, torch.tensor(shown)))
    pictures = torch.stack(frames, 1).flatten(0, 1)
    grid(nnf.interpolate(pictures, scale_factor=2, mode="bicubic"), columns=len(frames)).save(path)


def lamps(model: styles.Generator, reader: FactorReader, given: argparse.Namespace) -> None:
    """The lamp: one typical marked room, ten marked rooms, four at once, factors kept, few neurons."""
    own = Rooms(model, reader, "lamp", "shade", given.rooms)
    lit, off = own.renderer()
    print(HEAD, flush=True)
    print(own.row("renderer's own", off, lit), flush=True)
    marks = [own.typical(), *range(given.marked - 1)]
    for number, mark in enumerate(marks):
        w, mask = own.w[mark : mark + 1], own.mask[mark]
        began = time.process_time()
        edit = styles.solve_control(model, w, mask)
        told, seconds = dict(edit.measured), time.process_time() - began
        name = f"{'typical room' if not number else f'room {mark}'}, lamp {float(own.factors[mark, 0]):.2f}"
        even = styles.even_strengths(model, own.w, edit)
        print(own.row(f"{name}: shift ({told['distance']:.1f} σ, {seconds:.1f} s)", own.after(edit, 1.0)), flush=True)
        print(own.row(f"{name}: even", own.after(edit, even)), flush=True)
        few = styles.solve_control(model, w, mask, units=12)
        print(own.row(f"{name}: 12 units (keep {dict(few.measured)['kept']:.0%})", own.after(few, 1.0)), flush=True)
        if not number:
            print(follow(own, edit, even), flush=True)
            strip(own, (edit, few), [mark, 0, 1, 2, 3, 4], given.strips / "lamp.png")
            held = styles.solve_control(model, w, mask, keep_named={"factors": Other(reader, own.at)})
            even = styles.even_strengths(model, own.w, held)
            print(own.row(f"{name}: 23 factors kept, even", own.after(held, even)), flush=True)
    four = styles.solve_control(model, own.w[:4], own.mask[:4])
    print(own.row("rooms 0 to 3 at once: shift", own.after(four, 1.0)), flush=True)
    print(own.row("rooms 0 to 3 at once: even", own.after(four, styles.even_strengths(model, own.w, four))), flush=True)


def others(model: styles.Generator, reader: FactorReader, given: argparse.Namespace) -> None:
    """Daylight, pendant, warmth, size."""
    kept: styles.UnitEdit
    for factor, mask, goal in (
        ("day", "window", {"darken": 1.0}),
        ("pendant", "pendant", {"darken": 1.0}),
        ("warmth", "shade", {"colour": (0.85, 0.93, 1.0)}),
        ("shade_size", "shade", {"size": 0.7}),
    ):
        own = Rooms(model, reader, factor, mask, given.rooms)
        bright = own.factors[:, 0] > 0.6 if mask == "shade" else torch.ones(len(own), dtype=torch.bool)
        mark = int((own.factors[:, own.at] - 0.75).abs().where(bright, torch.tensor(9.0)).argmin())
        lit, off = own.renderer()
        print(f"\n{factor}: {goal}, marked room {mark}\n{HEAD}", flush=True)
        print(own.row("renderer's own", off, lit), flush=True)
        for units in (None, 12):
            edit = styles.solve_control(model, own.w[mark : mark + 1], own.mask[mark], units=units, **goal)  # type: ignore[arg-type]
            told = dict(edit.measured)
            name = "all units" if units is None else f"12 units (keep {told['kept']:.0%})"
            print(own.row(f"{name}: shift, reached {told['reached']:.0%}", own.after(edit, 1.0)), flush=True)
            if units is None:
                print(
                    own.row("all units: even", own.after(edit, styles.even_strengths(model, own.w, edit))), flush=True
                )
                kept = edit
        strip(own, (kept, edit), [mark, 0, 1, 2, 3, 4], given.strips / f"{factor}.png")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--marked", type=int, default=10, help="how many rooms are marked, one after the other")
    parser.add_argument("--part", choices=("lamps", "others", "all"), default="all")
    parser.add_argument("--strips", type=Path, default=Path("."), help="folder for film strips")
    given = parser.parse_args()
    given.strips.mkdir(parents=True, exist_ok=True)
    warnings.showwarning = lambda message, *_: print(f"note: {message}")
    torch.set_num_threads(1)
    model, reader = styles.load_generator("demo"), FactorReader.fit()
    if given.part != "others":
        lamps(model, reader, given)
    if given.part != "lamps":
        others(model, reader, given)


if __name__ == "__main__":
    main()
