"""Train the embedded segmenter on rendered rooms, write it beside the code and measure it: two minutes of one core.

    OMP_NUM_THREADS=1 python -m styles.demo.train_segmenter

writes segmenter.safetensors (fp16) and segmenter.json (SHA-256, settings, IoU of every class) and prints the card's
table. Every step draws from its own seed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as nnf

from styles.checkpoints.checkpoint import load_generator, sha256
from styles.demo import FOLDER
from styles.demo.furnished import drawn, furnished, some_missing
from styles.demo.measure import HELD_OUT, draw, generated
from styles.demo.renderer import MASKS, factors_of
from styles.dissection.segmenter import Segmenter, load_segmenter
from styles.relighting.training import average

SIZES = ((64, 24), (96, 10), (128, 6))
"""Sides in pixels, and how many rooms of each make a step."""
UNSEEN = HELD_OUT + 71
"""Seed of the rooms that it is measured on."""


def loss_of(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy of every pixel, and 1 - Dice of every class (Milletari et al. 2016), whatever its area."""
    said = logits.sigmoid()
    both, all_of_it = (said * masks).sum((0, 2, 3)), (said.square() + masks.square()).sum((0, 2, 3))
    dice = (2 * both + 1) / (all_of_it + 1)
    return nnf.binary_cross_entropy_with_logits(logits, masks) + 0.5 * (1 - dice).mean()


def train(*, steps: int, rate: float = 4e-3, seed: int = 0) -> Segmenter:
    """A segmenter after so many steps, with averaged weights."""
    torch.manual_seed(seed)
    net, slow = Segmenter(MASKS), Segmenter(MASKS)
    slow.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-4)
    for step in range(steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        size, count = SIZES[int(torch.randint(len(SIZES), (1,), generator=generator))]
        pictures, masks = drawn(count, size, generator)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (0.51 + 0.49 * math.cos(math.pi * step / steps))
        loss = loss_of(net(pictures), masks)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average(slow, net, min(0.99, (step + 1) / (step + 10)))
    return slow.eval().requires_grad_(False)


def iou(found: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    """Intersection over union of every class over a whole set."""
    pairs = {name: (found[name], truth[name] > 0.5) for name in found}
    return {name: float((a & b).sum() / (a | b).sum().clamp_min(1)) for name, (a, b) in pairs.items()}


@torch.no_grad()
def measure(net: Segmenter, *, rooms: int = 200) -> dict[str, dict[str, float]]:
    """IoU of every class on unseen rooms: complete, some things missing, and the embedded generator's against what the
    renderer says of them (which the generator follows well or badly)."""
    factors = factors_of(draw(UNSEEN, rooms))
    missing = some_missing(rooms, torch.Generator().manual_seed(UNSEEN), complete=0.0)
    found = {}
    for size in (64, 128):
        for name, present in (("complete", None), ("missing", missing)):
            truth = furnished(factors, size=size, present=present)
            found[f"{name}_{size}"] = iou(net.masks(truth.images), truth.masks)
    model = load_generator("demo", device="cpu")
    pictures = generated(model, draw(UNSEEN, rooms))
    truth = furnished(factors, size=model.config.resolution)
    found["generated"] = iou(net.masks(pictures), truth.masks)
    return found


def card(figures: dict[str, dict[str, float]]) -> str:
    """The table of README.md."""
    lines = [
        "| class | complete rooms, 64 px | 128 px | things missing, 64 px | 128 px | the generator's rooms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    columns = ("complete_64", "complete_128", "missing_64", "missing_128", "generated")
    lines += [f"| {name} | {' | '.join(f'{figures[column][name]:.2f}' for column in columns)} |" for name in MASKS]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--measure", action="store_true", help="only measure the one that is there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    weights, about = given.folder / "segmenter.safetensors", given.folder / "segmenter.json"
    settings: dict[str, Any] = json.loads(about.read_text()) if given.measure else {"steps": given.steps}
    if not given.measure:
        began = time.process_time()
        train(steps=given.steps).save(weights)
        settings |= {"processor_seconds": round(time.process_time() - began)}
    net = load_segmenter(weights, device="cpu")
    settings |= {"sha256": sha256(weights), "parameters": sum(p.numel() for p in net.parameters())}
    figures = measure(net)
    settings["iou"] = {name: {key: round(value, 3) for key, value in row.items()} for name, row in figures.items()}
    about.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    print(card(figures))


if __name__ == "__main__":
    main()
