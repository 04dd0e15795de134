"""Second stage of the embedded rooms: from the regressed generator on, a discriminator asks for crisp pictures.

    python -m styles.demo.adversarial --start /regressed/last.pt --out /some/folder --device cuda

The non-saturating loss with R1 every `LAZY` steps (Karras et al. 2020, section 2 and appendix B) and averaged weights.
The first stage's loss stays on with weight `--anchor`, so that a latent keeps the factors that its rendering has and
the units found can still be scored against the truth.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as nnf

from styles.demo.measure import draw
from styles.demo.renderer import factors_of, render
from styles.demo.train import CONFIG, Run, Step, adam, loss_of, options, painted, rate, remembered, set_rate
from styles.generator import Generator
from styles.layers import SQRT2, FullyConnected
from styles.relighting.training import average

WIDTHS = (32, 64, 128, 192, 256, 256)
"""The discriminator's channels at 128, 64, ... 4 px."""
LAZY = 16
"""Steps between penalties."""


class EqualConv(nn.Module):
    """Convolution with the equalised learning rate of Karras et al. 2018."""

    def __init__(self, inputs: int, outputs: int, size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h w"]:
        weight = self.weight / math.sqrt(self.weight[0].numel())
        return nnf.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)


def bent(x: Tensor) -> Tensor:
    """lrelu(0.2)·√2."""
    return nnf.leaky_relu(x, 0.2) * SQRT2


class Halved(nn.Module):
    """Residual block that halves the side (Karras et al. 2020, section 4.1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = EqualConv(inputs, inputs, 3)
        self.second = EqualConv(inputs, outputs, 3)
        self.skip = EqualConv(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = bent(self.second(nnf.avg_pool2d(bent(self.first(x)), 2)))
        return (inner + self.skip(nnf.avg_pool2d(x, 2))) / SQRT2


class Discriminator(nn.Module):
    """Residual discriminator with the standard deviation of the batch as a last channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = EqualConv(3, WIDTHS[0], 1)
        self.blocks = nn.Sequential(*(Halved(a, b) for a, b in pairwise(WIDTHS)))
        self.last = EqualConv(WIDTHS[-1] + 1, WIDTHS[-1], 3)
        self.inner = FullyConnected(16 * WIDTHS[-1], WIDTHS[-1])
        self.score = FullyConnected(WIDTHS[-1], 1)

    def forward(self, images: Float[Tensor, "batch rgb h w"]) -> Float[Tensor, " batch"]:
        x = self.blocks(bent(self.stem(images)))
        spread = (x.var(0, correction=0) + 1e-8).sqrt().mean().expand(len(x), 1, *x.shape[2:])
        x = bent(self.last(torch.cat([x, spread], 1)))
        return self.score(bent(self.inner(x.flatten(1))))[:, 0]


def penalty(judge: Discriminator, real: Tensor, gamma: float) -> Tensor:
    """R1: γ/2 · E ‖∇D(real)‖² (Mescheder et al. 2018, equation 9)."""
    real = real.requires_grad_(True)
    (slope,) = torch.autograd.grad(judge(real).sum(), real, create_graph=True)
    return 0.5 * gamma * slope.square().sum((1, 2, 3)).mean()


def sharpen(
    start: Path,
    out: Path,
    *,
    steps: int,
    until: int,
    batch: int,
    lr: float,
    seed: int,
    device: str,
    every: int,
    anchor: float,
    gamma: float,
) -> None:
    """The loop: the discriminator's step, the generator's, and its average."""
    torch.manual_seed(seed)
    live, ema, judge = Generator(CONFIG).to(device), Generator(CONFIG).to(device), Discriminator().to(device)
    regressed = torch.load(start, weights_only=True, map_location=device)["ema"]
    for model in (live, ema):
        model.load_state_dict(regressed)
    painting = adam(live, betas=(0.0, 0.99))
    judging = torch.optim.Adam(judge.parameters(), lr=2e-3, betas=(0.0, 0.99), capturable=live.device.type == "cuda")
    run = Run(out, live, ema, judge=judge, painting=painting, judging=judging)

    def real_rooms(z: Tensor) -> Tensor:
        """Rooms of the latents read backwards: as likely, and others."""
        with torch.no_grad():
            return render(factors_of(z.flip(1))).images

    def work(z: Tensor) -> Tensor:
        fake = painted(live, z)
        doubt = nnf.softplus(judge(fake.detach())).mean() + nnf.softplus(-judge(real_rooms(z))).mean()
        judging.zero_grad()
        doubt.backward()
        judging.step()
        with torch.no_grad():
            truth = render(factors_of(z))
        judge.requires_grad_(False)
        loss = nnf.softplus(-judge(fake)).mean() + anchor * loss_of(fake, truth)
        painting.zero_grad()
        loss.backward()
        painting.step()
        judge.requires_grad_(True)
        return loss.detach()

    def smoothed(z: Tensor) -> Tensor:
        loss = LAZY * penalty(judge, real_rooms(z), gamma)
        judging.zero_grad()
        loss.backward()
        judging.step()
        return loss.detach()

    learn, hold = Step(work, batch, device), Step(smoothed, batch, device)
    for step in range(run.resume(), until):
        set_rate(painting, lr * rate(step, steps))
        z = draw(seed * 1_000_000 + step, batch)
        loss = learn(z)
        if step % LAZY == 0:
            hold(z)
        average(ema, live, remembered(step))
        run.tell(step + 1, loss)
        if (step + 1) % every == 0 or step + 1 == until:
            run.keep(step + 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="last.pt of the first stage")
    parser.add_argument("--anchor", type=float, default=20.0, help="weight of the first stage's loss")
    parser.add_argument("--gamma", type=float, default=1.0, help="weight of R1")
    sharpen(**vars(options(parser, steps=6000, batch=64, lr=1e-3)))


if __name__ == "__main__":
    main()
