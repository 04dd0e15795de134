"""What guarding costs: a solve by `guarded` and `gated` against plain UCE of the same recipe and rows.

    python benchmarks/guarded_time.py --out benchmarks/guarded_time.md

The embedded model, 1, 12 and 24 of its 48 concepts in three wordings each, everything else kept. *Whole*: from the
recipe to the edit, reading the corpus and encoding every prompt included. *Solve alone*: `solve_statistics`. One
thread's processor time, the methods in turn in one run, medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from erase_quality import Cell, guarded

import concept_edit as ce

SIZES, REPEATS = (1, 12, 24), 5
METHODS = ("uce", "guarded", "gated")


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measured(model: ce.Model, recipe: ce.Recipe) -> dict[str, tuple[float, float]]:
    """Method -> median seconds of a whole solve and of the solve alone."""
    whole: dict[str, list[float]] = {method: [] for method in METHODS}
    alone: dict[str, list[float]] = {method: [] for method in METHODS}
    recipes = {method: recipe.model_copy(update={"method": method}) for method in METHODS}
    held = {method: ce.collect(model, asked) for method, asked in recipes.items()}
    for _ in range(REPEATS):
        for method, asked in recipes.items():
            whole[method].append(seconds(lambda asked=asked: ce.solve(model, asked)))
            alone[method].append(seconds(lambda method=method: ce.solve_statistics(held[method])))
    return {method: (statistics.median(whole[method]), statistics.median(alone[method])) for method in METHODS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = ce.open_model("demo")
    lines = ["| concepts | method | whole, s | of plain | solve alone, s | of plain |", "|" + "---|" * 6]
    for count in SIZES:
        found = measured(model, guarded(Cell("concept", "guarded", count)))
        for method, (whole, alone) in found.items():
            ratios = whole / found["uce"][0], alone / found["uce"][1]
            lines.append(f"| {count} | {method} | {whole:.2f} | {ratios[0]:.1f}x | {alone:.3f} | {ratios[1]:.1f}x |")
            print(lines[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
