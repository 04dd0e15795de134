"""Train the embedded rooms generator: z -> factors -> rendered room, regressed by a real StyleGAN2 generator.

    python -m styles.demo.train --out /some/folder --steps 24000

Meant for an accelerator (`--device cuda`); a CPU core makes the same steps, slowly. The run is resumed from `last.pt`
in the folder. Every batch is drawn from its own seed, so a resumed run sees the pictures of an uninterrupted one.
`loss.csv` and `step_*.png` show the progress. `adversarial.py` goes on from here.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from styles.demo.measure import HELD_OUT, draw, psnr
from styles.demo.renderer import SIDE, Z_DIM, Rendering, factors_of, render
from styles.generator import Generator
from styles.layers import GeneratorConfig
from styles.relighting.training import average

CONFIG = GeneratorConfig(SIDE, (192, 192, 128, 64, 32, 16), z_dim=Z_DIM, w_dim=96, mapping_layers=4, mapping_width=192)
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


def remembered(step: int) -> float:
    """What the average of the weights keeps of itself at a step; young averages forget faster."""
    return min(0.999, (1 + step) / (20 + step))


@torch.no_grad()
def settle(ema: Generator, *, samples: int = 20_000) -> None:
    """Set w_avg, the centre of truncation."""
    z = draw(HELD_OUT - 1, samples).to(ema.device)
    ema.mapping.w_avg.copy_(ema.mapping(z).mean(0))  # type: ignore[operator]


@torch.no_grad()
def sheet(model: Generator, path: Path) -> None:
    """Held-out rooms: renderer above, generator below."""
    from PIL import Image

    z = draw(HELD_OUT, 32).to(model.device)
    pairs = torch.stack([render(factors_of(z)).images, model.synthesize(model.map(z))], 1)
    rows = pairs.unflatten(0, (4, 8)).permute(0, 2, 4, 1, 5, 3).reshape(4 * 2 * SIDE, 8 * SIDE, 3)
    Image.fromarray(((rows.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()).save(path)


class Run:
    """The folder of a run and its parts: generator, averaged generator, optimisers, and what learns beside them."""

    def __init__(self, out: Path, live: Generator, ema: Generator, **others: Any) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.ema = out, ema
        self.parts = {"live": live, "ema": ema, **others}
        self._total: Tensor | float = 0.0
        self._began = time.perf_counter()

    def resume(self) -> int:
        """Take up the last checkpoint of the folder, if there is one; the step to go on with."""
        if not (self.out / "last.pt").exists():
            return 0
        state = torch.load(self.out / "last.pt", weights_only=True, map_location=self.ema.device)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return int(state["step"])

    def tell(self, step: int, loss: Tensor, *, every: int = 250) -> None:
        """Add to the mean loss; a line of loss.csv every so many steps."""
        self._total = self._total + loss
        if step % every == 0:
            with open(self.out / "loss.csv", "a", encoding="utf-8") as file:
                file.write(f"{step},{float(self._total) / every:.5f},{time.perf_counter() - self._began:.0f}\n")
            self._total = 0.0

    def keep(self, step: int) -> None:
        """Checkpoint, held-out figure and sample sheet."""
        settle(self.ema)
        torch.save({"step": step, **{name: part.state_dict() for name, part in self.parts.items()}}, self.out / "tmp")
        (self.out / "tmp").replace(self.out / "last.pt")
        sheet(self.ema, self.out / f"step_{step:06d}.png")
        with open(self.out / "psnr.csv", "a", encoding="utf-8") as file:
            file.write(f"{step},{psnr(self.ema):.3f}\n")


class Step:
    """One step of training on a batch of latents; on an accelerator its kernels are recorded once and then replayed.

    `step(z)` calls `work` with a tensor that holds z and gives the loss that `work` returns. `work` must not look at a
    value of the device.
    """

    def __init__(self, work: Callable[[Tensor], Tensor], batch: int, device: str) -> None:
        self._work, self._z = work, torch.zeros(batch, Z_DIM, device=device)
        self._recorded = torch.device(device).type == "cuda"
        self._graph: Any = None
        self._loss: Tensor | None = None

    def __call__(self, z: Tensor) -> Tensor:
        self._z.copy_(z)
        if not self._recorded:
            return self._work(self._z)
        if self._graph is None:
            return self._record()
        self._graph.replay()
        assert self._loss is not None
        return self._loss

    def _record(self) -> Tensor:
        """Three steps on this batch, as torch.cuda.graph wants them, and the recording; products are in TF32."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                loss = self._work(self._z)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = self._work(self._z)
        return loss


def painted(model: Generator, z: Float[Tensor, "batch d_z"]) -> Float[Tensor, "batch rgb h w"]:
    """`synthesize(map(z))` without noise and without looking for NaN."""
    w = model.mapping(z)
    styles = {layer.name: model.module(layer.name).affine(w) for layer in model.layers}
    return model.synthesize_styles(styles, noise="none")


def adam(model: Generator, *, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam with the mapping network's boost; `set_rate` sets its learning rates."""
    groups = [
        {"params": list(part.parameters()), "boost": boost, "lr": torch.zeros([], device=model.device)}
        for part, boost in ((model.mapping, MAPPING_BOOST), (model.synthesis, 1.0))
    ]
    return torch.optim.Adam(groups, betas=betas, capturable=model.device.type == "cuda")


def set_rate(optimiser: torch.optim.Adam, value: float) -> None:
    """The synthesis network's learning rate."""
    for group in optimiser.param_groups:
        group["lr"].fill_(value * group["boost"])


def train(out: Path, *, steps: int, until: int, batch: int, lr: float, seed: int, device: str, every: int) -> None:
    """The loop: one step, its average, and now and then a figure, a sheet and a checkpoint."""
    torch.manual_seed(seed)
    live, ema = Generator(CONFIG).to(device), Generator(CONFIG).to(device)
    ema.load_state_dict(live.state_dict())
    optimiser = adam(live, betas=(0.9, 0.99))
    run = Run(out, live, ema, optimiser=optimiser)

    def work(z: Tensor) -> Tensor:
        with torch.no_grad():
            truth = render(factors_of(z))
        loss = loss_of(painted(live, z), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    learn = Step(work, batch, device)
    for step in range(run.resume(), until):
        set_rate(optimiser, lr * rate(step, steps))
        loss = learn(draw(seed * 1_000_000 + step, batch))
        average(ema, live, remembered(step))
        run.tell(step + 1, loss)
        if (step + 1) % every == 0 or step + 1 == until:
            run.keep(step + 1)


def options(parser: argparse.ArgumentParser, *, steps: int, batch: int, lr: float) -> argparse.Namespace:
    """The command line's options, those of both stages."""
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, logs and sample sheets")
    parser.add_argument("--steps", type=int, default=steps, help="length of the learning rate's schedule")
    parser.add_argument("--until", type=int, help="stop at this step of the schedule")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--every", type=int, default=1000, help="steps between checkpoints")
    given = parser.parse_args()
    given.until = given.until or given.steps
    return given


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    train(**vars(options(parser, steps=24_000, batch=8, lr=4e-3)))


if __name__ == "__main__":
    main()
