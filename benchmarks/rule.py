"""Every lamp's shade blue, from one marked room or four, measured on 200 rooms nobody marked.

    OMP_NUM_THREADS=1 python benchmarks/rule.py --picture benchmarks/rule.png

The renderer's masks tell where the shade and everything else is. Held-out rooms decide layer, rank and shrinkage (1 is
the identity instead of C) and how strongly each rule is applied: so that their shades go 60 % of the way. Other
rooms, at that strength, are reported.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as nnf

import styles
from styles.demo.measure import HELD_OUT, lit_latents
from styles.demo.renderer import MASKS, factors_of, render
from styles.pictures import grid
from styles.rules.keys import Arrival, KeyMoment, as_matrix, convolution, identity
from styles.rules.wanted import coloured_shift, mean_value, places_of
from styles.units.goals import coloured, region_mean

BLUE = (0.25, 0.40, 0.95)
WAY, STRONGEST = 0.6, 12.0
"""Share of the way that rules are compared at, and the greatest strength tried."""
LAYERS = ("b8.conv1", "b16.conv1", "b32.conv0", "b32.conv1", "b64.conv0")
RANKS, SHRINKAGES = (1, 4, 16), (1.0, 0.75, 0.5, 0.25)
CLEARLY = 0.1
"""How far a blue shade's mean blue stands above its red and its green (scale 0 to 1)."""
SHOWN = 8
"""Rooms of the picture, in their own pixels and true colours."""
EDGE = 5
"""Pixels, width of the window by which the shade is grown before the rest of the picture is looked at."""


class Rooms:
    """Rooms with a burning lamp, measured before and after."""

    def __init__(self, model: styles.Generator, seed: int, count: int) -> None:
        self.model, z = model, lit_latents(count, seed=seed)
        self.w, self.masks = model.map(z), render(factors_of(z)).masks
        self.shade = self.masks["shade"]
        clear = 1 - nnf.max_pool2d(self.shade[:, None], EDGE, 1, EDGE // 2)[:, 0]
        self.clear = {name: clear * self.masks[name] for name in MASKS if name != "shade"} | {"all": clear}
        self.before = self.paint()

    @torch.no_grad()
    def paint(self) -> Tensor:
        return torch.cat([self.model.synthesize(part) for part in self.w.split(50)])

    def after(self, edit: styles.RuleEdit, strength: float) -> Tensor:
        with edit.applied(self.model, strength=strength):
            return self.paint()

    def share(self, after: Tensor) -> Tensor:
        """How far each room's shade has come to being blue: 0 before, 1 there."""
        start = region_mean(self.before, self.shade)
        way = 2 * start.new_tensor(BLUE) - 1 - start
        return ((region_mean(after, self.shade) - start) * way).sum(1) / way.square().sum(1)

    def blue(self, after: Tensor) -> float:
        """Share of rooms whose shade is blue: its mean blue stands at least `CLEARLY` above its red and its green."""
        red, green, blue = (region_mean(after, self.shade) / 2 + 0.5).unbind(1)
        return float((blue - torch.maximum(red, green) >= CLEARLY).float().mean())

    def change(self, after: Tensor, name: str) -> Tensor:
        """Mean absolute change of display values (scale 0 to 1) of each room's other region, where it is to be seen."""
        size = self.clear[name].sum((1, 2))
        moved = ((after - self.before).abs().mean(1) / 2 * self.clear[name]).sum((1, 2)) / size.clamp_min(1)
        return moved[size >= 1]


def strength_for(rooms: Rooms, edit: styles.RuleEdit) -> tuple[float, Tensor]:
    """The strength at which these rooms' shades go `WAY` of the way, by halving; the pictures there."""
    low, high = 0.0, STRONGEST
    for _ in range(9):
        middle = (low + high) / 2
        after = rooms.after(edit, middle)
        low, high = (middle, high) if float(rooms.share(after).mean()) < WAY else (low, middle)
    return high, rooms.after(edit, high)


def interval(values: Tensor) -> str:
    """Mean and 95 % interval of it over rooms."""
    return f"{float(values.mean()):.3f} ± {1.96 * float(values.std()) / len(values) ** 0.5:.3f}"


def tuned(rooms: Rooms, layer: str, marked: int, *, steps: int = 100, rate: float = 0.01) -> styles.RuleEdit:
    """The same layer's whole weight trained on the marked rooms (Adam, the region's loss and the rest's alike)."""
    model, module = rooms.model, convolution(rooms.model, layer)
    arrival, mask = Arrival.at(model, layer, rooms.w[:marked]), rooms.shade[:marked]
    before = rooms.before[:marked]
    wanted = before + 2 * coloured(before, mask, BLUE).wanted
    start = as_matrix(module, module.weight)
    change = torch.zeros_like(start, requires_grad=True)
    search = torch.optim.Adam([change], lr=rate * float(start.std()))
    for _ in range(steps):
        matrix = start + change
        squares = matrix.unflatten(1, (-1, 9)).square().sum(2)
        gain = torch.rsqrt(arrival.styles[layer].square() @ squares.T + 1e-8)[:, :, None]
        after = arrival.painted(gain * (matrix @ arrival.keys))
        inside = ((after - wanted).square().mean(1) * mask).sum() / mask.sum()
        outside = ((after - before).square().mean(1) * (1 - mask)).sum() / (1 - mask).sum()
        search.zero_grad()
        (inside + outside).backward()
        search.step()
    return styles.RuleEdit(layer, change.detach(), torch.eye(change.shape[1]), identity(model))


class Rules:
    """Rules of marked rooms: the wanted values of a layer are looked for once for all ranks and shrinkages."""

    def __init__(self, rooms: Rooms, marked: int, first: int = 0) -> None:
        self.model, chosen = rooms.model, slice(first, first + marked)
        self.region = styles.Region(rooms.w[chosen], rooms.shade[chosen])
        self.moments: dict[str, KeyMoment] = {}
        self.goals: dict[str, Tensor] = {}

    def rule(self, layer: str, rank: int, shrinkage: float) -> styles.RuleEdit:
        if layer not in self.goals:
            arrival = Arrival.at(self.model, layer, self.region.w)
            places = places_of(self.region.mask, self.model.layer(layer).resolution)
            shift = coloured_shift(arrival, self.region.mask, places, BLUE)
            self.goals[layer] = mean_value(arrival, places) + shift
        return styles.rewrite_rule(
            self.model, layer, keys=self.region, values=self.goals[layer], rank=rank, shrinkage=shrinkage,
            statistics=self.moments[layer],
        )  # fmt: skip


def choose(rules: Rules, held: Rooms) -> list[tuple[float, float, float, str, int, float]]:
    """Every layer, rank and shrinkage on the held-out rooms; rows of (not reached, change, strength, what it was)."""
    found = []
    print("| layer | rank | shrinkage | strength | share of the way | change of the rest |\n" + "| --- " * 6 + "|")
    for layer in LAYERS:
        for rank in RANKS:
            for shrinkage in SHRINKAGES:
                edit = rules.rule(layer, rank, shrinkage)
                if edit.rank < rank:  # fewer marked places than that
                    continue
                strength, after = strength_for(held, edit)
                share, rest = float(held.share(after).mean()), float(held.change(after, "all").mean())
                print(f"| {layer} | {rank} | {shrinkage:g} | {strength:.1f} | {share:.2f} | {rest:.4f} |", flush=True)
                found.append((round(max(0.0, WAY - 0.01 - share), 2), rest, strength, layer, rank, shrinkage))
    return sorted(found)


def report(name: str, rooms: Rooms, edit: styles.RuleEdit, strength: float) -> Tensor:
    """One row of the reported table; the pictures."""
    after = rooms.after(edit, strength)
    share = rooms.share(after)
    cells = [f"{float(rooms.change(after, region).mean()):.4f}" for region in MASKS if region != "shade"]
    print(
        f"| {name} | {strength:.1f} | {interval(share)} | {rooms.blue(after):.0%} | "
        f"{interval(rooms.change(after, 'all'))} | {' | '.join(cells)} |",
        flush=True,
    )
    return after


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--held", type=int, default=24, help="rooms that decide")
    parser.add_argument("--picture", type=Path, default=Path("rule.png"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = styles.load_generator("demo", device="cpu")
    marks, held, unseen = (Rooms(model, HELD_OUT + at, n) for at, n in ((7, 12), (11, given.held), (12, given.rooms)))
    began = time.process_time()
    moments = {layer: styles.key_moment(model, layer) for layer in LAYERS}
    print(f"key moments of {len(LAYERS)} layers: {time.process_time() - began:.0f} s\n", flush=True)

    rows: list[tuple[str, styles.RuleEdit, float]] = []
    for count in (1, 4):
        print(f"\nDeciding, {count} marked:\n")
        rules = Rules(marks, count)
        rules.moments = moments
        best = choose(rules, held)
        _, _, strength, layer, rank, shrinkage = next(row for row in best if row[5] < 1)
        edit = rules.rule(layer, rank, shrinkage)
        rows.append((f"{count} marked: C, {layer}, rank {rank}, {shrinkage:g}", edit, strength))
        rows.append((f"{count} marked: the same at strength 1", edit, 1.0))
        _, _, strength, other, rank1, _ = next(row for row in best if row[5] == 1)
        rows.append((f"{count} marked: identity, {other}, rank {rank1}", rules.rule(other, rank1, 1.0), strength))
        trained = tuned(marks, layer, count)
        rows.append((f"{count} marked: fine-tuning of {layer}", trained, strength_for(held, trained)[0]))
        for first in (4, 8):
            again = Rules(marks, count, first)
            again.moments = moments
            edit = again.rule(layer, rank, shrinkage)
            rows.append((f"{count} marked, others (from room {first})", edit, strength_for(held, edit)[0]))

    names = [name for name in MASKS if name != "shade"]
    print(f"\nReported, {given.rooms} rooms:\n")
    print(f"| rule | strength | share of the way | blue shades | all | {' | '.join(names)} |")
    print("| --- " * (5 + len(names)) + "|")
    print(f"| as they are | 0 | 0 | {unseen.blue(unseen.before):.0%} | 0 |{' 0 |' * len(names)}")
    shown: dict[str, Tensor] = {name: report(name, unseen, edit, strength)[:SHOWN] for name, edit, strength in rows}
    strips = [unseen.before[:SHOWN]]
    for start in ("1 marked: C", "4 marked: C", "4 marked: identity"):
        strips.append(next(after for name, after in shown.items() if name.startswith(start)))
    grid(torch.cat(strips), columns=SHOWN).save(given.picture, optimize=True)


if __name__ == "__main__":
    main()
