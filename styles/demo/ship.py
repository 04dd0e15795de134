"""Put a trained generator beside the code: fp16 weights, checksum and the card with its measured figures.

python -m styles.demo.ship /some/folder/last.pt
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from styles.checkpoints.checkpoint import load_generator, save_generator, sha256
from styles.demo.measure import fidelity, lit_latents, obeyed, precisions, psnr
from styles.demo.renderer import factors_of, render
from styles.demo.train import CONFIG
from styles.generator import Generator
from styles.units.rank import rank_units
from styles.units.search import Screen

FOLDER = Path(__file__).parent
SCREENS: tuple[Screen, Screen] = ("none", "probes")


def ship(checkpoint: Path, folder: Path = FOLDER) -> None:
    """Write rooms.safetensors and rooms.json, and print the tables of README.md."""
    state = torch.load(checkpoint, weights_only=True)
    model = Generator(CONFIG)
    model.load_state_dict(state["ema"])
    weights = folder / "rooms.safetensors"
    save_generator(model, weights, dtype="float16")
    figures = measure(load_generator(weights))
    content = {"sha256": sha256(weights), "steps": state["step"], "config": CONFIG.to_dict(), **figures}
    (folder / "rooms.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(card(content))
    print(json.dumps({name: content[name] for name in content if name != "config"}))


def measure(model: Generator, *, images: int = 16) -> dict[str, object]:
    """The card's figures, from the shipped (fp16) weights."""
    found, z = fidelity(model), lit_latents(images)
    w, masks = model.map(z), render(factors_of(z)).masks
    marked = {name: masks[name] for name in ("shade", "reflection")}
    exact, quick = (rank_units(model, w, marked, screen=how) for how in SCREENS)
    confirmed = set(quick.exact.nonzero()[:, 0].tolist())
    return {
        "psnr_db": round(psnr(model), 2),
        "factor_r2_nearest_rendering": rounded(obeyed(model)),
        "factor_r2": rounded(found["generated"]),
        "factor_r2_rendered": rounded(found["rendered"]),
        "images_ranked": images,
        "precision": {name: rounded(values) for name, values in precisions(model, exact, z).items()},
        "screen_recall_of_top_20": {name: len(confirmed & set(exact.order(name)[:20])) / 20 for name in marked},
        "split_half": rounded({name: exact.split_half(name) or 0.0 for name in marked}),
    }


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Three digits."""
    return {name: round(value, 3) for name, value in values.items()}


def card(figures: Mapping[str, Any]) -> str:
    """The tables of README.md."""
    columns = [figures[f"factor_r2{which}"] for which in ("_nearest_rendering", "", "_rendered")]
    lines = ["| factor | R², nearest rendering | regression, generated rooms | regression, rendered rooms |"]
    lines += ["| --- | --- | --- | --- |"]
    lines += [f"| {name} | {' | '.join(f'{column[name]:.2f}' for column in columns)} |" for name in columns[0]]
    lines += ["", "| looked for | precision@5 | precision@10 | chance |", "| --- | --- | --- | --- |"]
    lines += [f"| {k} | {v['@5']:.2f} | {v['@10']:.2f} | {v['chance']:.2f} |" for k, v in figures["precision"].items()]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="last.pt of a training run")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    ship(given.checkpoint, given.folder)


if __name__ == "__main__":
    main()
