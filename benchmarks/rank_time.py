"""What ranking the units of one image costs: the naive loop, the screen with its confirmation, and exact for all.

    OMP_NUM_THREADS=1 python benchmarks/rank_time.py

Random weights of a config-f generator. The naive loop runs one full forward pass per unit; it and the long routes are
timed on a sample of units, spread over the layers, and scaled up to all of them. On a CPU the clock is the CPU time of
this process (other programs stretch it less than the wall clock); on a GPU it is the wall clock, synchronised.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from styles.generator import Generator, Layer
from styles.layers import GeneratorConfig
from styles.units.ablate import Ablation
from styles.units.rank import weights_of
from styles.units.search import Rule, Search, columns_of


@dataclass
class Clock:
    """Seconds spent in a call."""

    device: str

    def __call__(self, work: Callable[[], object]) -> float:
        began = self.now()
        work()
        return self.now() - began

    def now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def peak(device: str) -> float:
    """Largest memory so far in GiB."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return torch.cuda.max_memory_allocated() / (1 << 30)


def spread(count: int, sample: int) -> list[int]:
    """Evenly spaced positions."""
    return [i * count // sample for i in range(min(sample, count))]


@torch.no_grad()
def naive(model: Generator, w: torch.Tensor, clock: Clock, sample: int) -> float:
    """Seconds per unit of one full forward pass with that unit zeroed."""
    styles, units = model.styles(w), [(la.name, c) for la in model.layers for c in range(la.channels)]
    image = model.synthesize_styles(styles)

    def one(name: str, channel: int) -> None:
        turned = {**styles, name: styles[name].clone()}
        turned[name][:, channel] = 0
        (model.synthesize_styles(turned) - image).abs().mean(1)

    chosen = [units[i] for i in spread(len(units), sample)]
    return sum(clock(lambda unit=unit: one(*unit)) for unit in chosen) / len(chosen)  # type: ignore[misc]


@torch.no_grad()
def exact(search: Search, clock: Clock, layers: Sequence[Layer], sample: int) -> tuple[float, float]:
    """Seconds of preparing an image, and of ablating all units of the layers, from a sample of each."""
    made: list[Ablation] = []
    prepare = clock(lambda: made.append(ready(search)))
    total = 0.0
    for layer in layers:
        channels = torch.tensor(spread(layer.channels, layer.channels if layer.kind == "torgb" else sample))
        total += clock(lambda la=layer, ch=channels: ablate(search, made[0], la, ch)) * layer.channels / len(channels)  # type: ignore[misc]
    return prepare, total


def ready(search: Search) -> Ablation:
    """The image's prefix states and dense weights."""
    ablation = Ablation(search.model, search.styles, noise="const", stop=search.rule.side)
    for layer in ablation.layers:
        ablation.dense(layer.name)
    return ablation


def ablate(search: Search, ablation: Ablation, layer: Layer, channels: torch.Tensor) -> None:
    """Ablate and score some units of a layer, as a ranking does."""
    channels = channels.to(search.model.device)
    values = torch.zeros(len(channels), device=channels.device)
    if layer.kind == "torgb":
        for _ in search._rgb(ablation, layer, channels, values, 0) or ():
            pass
        return
    for change in ablation.changes(layer.name, channels, values):
        columns_of(change.image - ablation.image, search.weights[0])


def search_of(model: Generator, w: torch.Tensor, side: int) -> Search:
    """A ranking's parts for one image and a square mask."""
    mask = torch.zeros(model.config.resolution, model.config.resolution)
    quarter = model.config.resolution // 4
    mask[quarter : 2 * quarter, quarter : 2 * quarter] = 1
    weights, names = weights_of(mask, 1, side, model, protect=None, ignore=None)
    layers = tuple(layer for layer in model.layers if layer.resolution <= side)
    return Search(model, model.styles(w), weights, layers, Rule("style", 0.0, "const", side, names))


def confirmation(search: Search, clock: Clock, sample: int, confirm: int) -> float:
    """Seconds of ablating the units that the screen chose, from a sample of them."""
    wanted = search.choose(confirm)
    units = [
        unit for unit, chosen in zip(search.units, wanted.tolist(), strict=True) if chosen and "torgb" not in unit[0]
    ]
    picked = [units[i] for i in spread(len(units), sample)]
    with torch.no_grad():
        ablation = ready(search)
        total = 0.0
        for layer in search.layers:
            channels = torch.tensor([channel for name, channel in picked if name == layer.name])
            if len(channels):
                total += clock(lambda la=layer, ch=channels: ablate(search, ablation, la, ch))  # type: ignore[misc]
    return total * len(units) / len(picked)


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--naive", type=int, default=3, help="units of the naive loop's sample")
    parser.add_argument("--sample", type=int, default=2, help="units sampled per convolution for exact-for-all")
    parser.add_argument("--confirm", type=int, default=100)
    parser.add_argument("--confirm-sample", type=int, default=10)
    return parser.parse_args()


def main() -> None:
    """Measure and print the table."""
    given = asked()
    torch.manual_seed(0)
    clock, side = Clock(given.device), given.resolution
    model = Generator(GeneratorConfig.config_f(side)).eval().requires_grad_(False).to(given.device)
    w = model.map(model.sample_z([0]))
    units = sum(layer.channels for layer in model.layers)
    print(f"config-f {side} px, {units} units, {given.device}, {torch.get_num_threads()} thread(s)", flush=True)
    with torch.no_grad():
        model.synthesize(w)  # warm-up
    per = naive(model, w, clock, given.naive)
    report(f"naive loop, {given.naive} units timed", f"{per:.2f} s a unit", per * units, 1.0, given.device)
    search = search_of(model, w, side)
    parts = screened(search, clock, given)
    told = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
    total = sum(parts.values())
    report(f"screen, confirm {given.confirm}", told, total, per * units / total, given.device)
    small = search_of(model, w, 64)
    total, same = sum(exact(small, clock, small.layers, 2 * given.sample)), per * len(small.units)
    what = f"exact for all {len(small.units)} units up to 64 px, scored at the 64 px RGB"
    report(what, f"{same / total:.2f} against the same units", total, per * units / total, given.device)
    total = sum(exact(search, clock, search.layers, given.sample))
    report("exact for all", "", total, per * units / total, given.device)


def screened(search: Search, clock: Clock, given: argparse.Namespace) -> dict[str, float]:
    """Seconds of the parts of a screened ranking."""

    def screen() -> None:
        search.estimate[:, 0] = search.screen(0, 4, 0)

    first = clock(screen)
    prepare, closed = exact(search, clock, [la for la in search.layers if la.kind == "torgb"], given.sample)
    second = confirmation(search, clock, given.confirm_sample, given.confirm)
    return {"screen": first, "prepare": prepare, "all tRGB": closed, "confirm": second}


def report(route: str, parts: str, seconds: float, gain: float, device: str) -> None:
    """One row of the table."""
    print(f"| {route} | {parts} | {seconds:.0f} s | {gain:.2f} | {peak(device):.1f} |", flush=True)


if __name__ == "__main__":
    main()
