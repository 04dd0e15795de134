"""Train the embedded rooms generator: z -> factors -> rendered room, regressed by a real StyleGAN2 generator.

    python -m styles.demo.train --out /some/folder --steps 24000

One CPU core is enough (about an hour). The run is resumed from `last.pt` in the folder. Every batch is drawn from its
own seed, so a resumed run sees the pictures of an uninterrupted one. `loss.csv` and `step_*.png` show the progress.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from styles.demo.measure import HELD_OUT, draw, psnr
from styles.demo.renderer import Z_DIM, Rendering, factors_of, render
from styles.generator import Generator
from styles.layers import GeneratorConfig

CONFIG = GeneratorConfig(64, (128, 128, 64, 32, 16), z_dim=Z_DIM, w_dim=64, mapping_layers=4)
MAPPING_BOOST = 30.0
"""The mapping network's learning rate over the synthesis network's."""


def loss_of(images: Tensor, truth: Rendering) -> Tensor:
    """L1 + L2 + L1 of the gradients; pixels of the lamp and of its reflection count more."""
    weight = (1 + 2 * truth.masks["shade"] + 2 * truth.masks["reflection"])[:, None]
    error = images - truth.images
    across, down = error[..., :, 1:] - error[..., :, :-1], error[..., 1:, :] - error[..., :-1, :]
    return (weight * (error.abs() + error.square())).mean() + 0.5 * (across.abs().mean() + down.abs().mean())


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: 200 steps of warm-up, then a cosine down to 2 %."""
    return min(1.0, (step + 1) / 200) * (0.51 + 0.49 * math.cos(math.pi * min(1.0, step / steps)))


@torch.no_grad()
def average(ema: Generator, live: Generator, step: int) -> None:
    """Exponential moving average of the weights; young averages forget faster."""
    keep = min(0.999, (1 + step) / (20 + step))
    for slow, fast in zip(ema.parameters(), live.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)


@torch.no_grad()
def settle(ema: Generator, *, samples: int = 20_000) -> None:
    """Set w_avg, the centre of truncation."""
    ema.mapping.w_avg.copy_(ema.mapping(draw(HELD_OUT - 1, samples)).mean(0))  # type: ignore[operator]


@torch.no_grad()
def sheet(model: Generator, path: Path) -> None:
    """Held-out rooms: renderer above, generator below."""
    from PIL import Image

    z = draw(HELD_OUT, 32)
    pairs = torch.stack([render(factors_of(z)).images, model.synthesize(model.map(z))], 1)
    rows = pairs.unflatten(0, (4, 8)).permute(0, 2, 4, 1, 5, 3).reshape(4 * 2 * 64, 8 * 64, 3)
    Image.fromarray(((rows.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()).resize((1024, 1024), 0).save(path)


def train(out: Path, *, steps: int, until: int, batch: int, lr: float, seed: int) -> None:
    """The loop: one step, its average, and every 1000 steps a figure, a sheet and a checkpoint."""
    torch.manual_seed(seed)
    live, ema = Generator(CONFIG), Generator(CONFIG)
    ema.load_state_dict(live.state_dict())
    groups = [
        {"params": live.mapping.parameters(), "boost": MAPPING_BOOST},
        {"params": live.synthesis.parameters(), "boost": 1.0},
    ]
    optimiser = torch.optim.Adam(groups, lr=lr, betas=(0.9, 0.99))
    first = resume(out, live, ema, optimiser)
    began, total = time.perf_counter(), 0.0
    for step in range(first, until):
        for group in optimiser.param_groups:
            group["lr"] = lr * group["boost"] * rate(step, steps)
        z = draw(seed * 1_000_000 + step, batch)
        with torch.no_grad():
            truth = render(factors_of(z))
        loss = loss_of(live.synthesize(live.map(z), noise="none"), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average(ema, live, step)
        total += float(loss.detach())
        if (step + 1) % 250 == 0:
            log(out, step + 1, total / 250, time.perf_counter() - began)
            total = 0.0
        if (step + 1) % 1000 == 0 or step + 1 == until:
            keep(out, step + 1, live, ema, optimiser)


def log(out: Path, step: int, loss: float, seconds: float) -> None:
    """One line of loss.csv."""
    with open(out / "loss.csv", "a", encoding="utf-8") as file:
        file.write(f"{step},{loss:.5f},{seconds:.0f}\n")


def keep(out: Path, step: int, live: Generator, ema: Generator, optimiser: torch.optim.Optimizer) -> None:
    """Checkpoint, held-out figure and sample sheet."""
    settle(ema)
    state = {"step": step, "live": live.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save(state, out / "last.tmp")
    (out / "last.tmp").replace(out / "last.pt")
    sheet(ema, out / f"step_{step:06d}.png")
    with open(out / "psnr.csv", "a", encoding="utf-8") as file:
        file.write(f"{step},{psnr(ema):.3f}\n")


def resume(out: Path, live: Generator, ema: Generator, optimiser: torch.optim.Optimizer) -> int:
    """Take up the last checkpoint of the folder, if there is one; the step to go on with."""
    if not (out / "last.pt").exists():
        return 0
    state = torch.load(out / "last.pt", weights_only=True)
    live.load_state_dict(state["live"])
    ema.load_state_dict(state["ema"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, logs and sample sheets")
    parser.add_argument("--steps", type=int, default=24_000, help="length of the learning rate's schedule")
    parser.add_argument("--until", type=int, help="stop at this step of the schedule")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    train(
        given.out, steps=given.steps, until=given.until or given.steps, batch=given.batch, lr=given.lr, seed=given.seed
    )


if __name__ == "__main__":
    main()
