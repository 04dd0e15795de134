"""How well pictures obey the renderer's factors, and which factor a unit moves: the ground truth of unit rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.demo.renderer import FACTORS, Z_DIM, factors_of, render
from styles.generator import Generator
from styles.units.modulate import turned
from styles.units.ranking import Ranking

HELD_OUT = 10_000_000
"""Seeds from here on are never trained on."""


def draw(seed: int, count: int) -> Float[Tensor, "count d_z"]:
    """Standard normal latents."""
    return torch.randn(count, Z_DIM, generator=torch.Generator().manual_seed(seed))


def rooms(factors: Float[Tensor, "count factors"]) -> Float[Tensor, "count rgb h w"]:
    """Rendered pictures of many factors, in pieces."""
    return torch.cat([render(part).images for part in factors.split(50)])


@torch.no_grad()
def generated(model: Generator, z: Float[Tensor, "count d_z"]) -> Float[Tensor, "count rgb h w"]:
    """A generator's pictures of many latents, in pieces."""
    return torch.cat([model.synthesize(model.map(part)) for part in z.split(32)])


@dataclass(frozen=True)
class FactorReader:
    """Reads the factors off a picture: ridge regression on 8 x 8 mean colours and their squares."""

    weights: Float[Tensor, "features factors"]

    @classmethod
    def fit(cls, *, rooms_seen: int = 1000, seed: int = HELD_OUT + 1, ridge: float = 0.3) -> FactorReader:
        """Learn from freshly rendered rooms; no generator is involved."""
        factors = factors_of(draw(seed, rooms_seen))
        features = cls.features(rooms(factors))
        normal = features.T @ features + ridge * torch.eye(features.shape[1])
        return cls(torch.linalg.solve(normal, features.T @ factors))

    @staticmethod
    def features(images: Float[Tensor, "count rgb h w"]) -> Float[Tensor, "count features"]:
        """8 x 8 mean colours, their squares and a one."""
        means = nnf.adaptive_avg_pool2d(images.float(), 8).flatten(1)
        return torch.cat([means, means.square(), torch.ones(len(means), 1)], 1)

    def read(self, images: Float[Tensor, "count rgb h w"]) -> Float[Tensor, "count factors"]:
        """The factors of pictures, each about 0 to 1."""
        return self.features(images) @ self.weights


def explained(truth: Float[Tensor, "count factors"], guess: Float[Tensor, "count factors"]) -> dict[str, float]:
    """R² per factor."""
    rest = (truth - guess).square().mean(0) / truth.var(0, correction=0)
    return dict(zip(FACTORS, (1 - rest).tolist(), strict=True))


@torch.no_grad()
def fidelity(model: Generator, *, images: int = 512) -> dict[str, dict[str, float]]:
    """R² of the factors read off held-out generated pictures, and off the rendered ones as the ceiling."""
    reader, z = FactorReader.fit(), draw(HELD_OUT, images)
    factors = factors_of(z)
    painted = generated(model, z)
    return {
        "generated": explained(factors, reader.read(painted)),
        "rendered": explained(factors, reader.read(rooms(factors))),
    }


@torch.no_grad()
def obeyed(model: Generator, *, images: int = 96, steps: int = 11) -> dict[str, float]:
    """R² per factor of the values whose renderings are nearest to held-out generated pictures.

    One factor at a time takes `steps` values from 0 to 1 while the others stay what the latent says; the smallest
    squared error and its neighbours give a parabola, whose lowest point is read. Rendered pictures give 1 but for that
    interpolation, where the factor shows at all (warmth and gloss do not where no lamp burns).
    """
    z = draw(HELD_OUT, images)
    factors, tried = factors_of(z), torch.linspace(0, 1, steps)
    painted = generated(model, z)
    guess = factors.clone()
    for k in range(len(FACTORS)):
        for row in range(images):
            trial = factors[row].repeat(steps, 1)
            trial[:, k] = tried
            guess[row, k] = _lowest(tried, (render(trial).images - painted[row]).square().mean((1, 2, 3)))
    return explained(factors, guess)


def _lowest(at: Float[Tensor, " steps"], error: Float[Tensor, " steps"]) -> float:
    """Where the parabola through the smallest error and its neighbours is lowest."""
    middle = int(error.argmin().clamp(1, len(at) - 2))
    left, here, right = (float(value) for value in error[middle - 1 : middle + 2])
    bend = left - 2 * here + right
    shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(at[middle]) + max(-1.0, min(1.0, shift)) * float(at[1] - at[0])


@torch.no_grad()
def psnr(model: Generator, *, images: int = 256) -> float:
    """Peak signal-to-noise ratio in dB against the renderer, on held-out latents."""
    z = draw(HELD_OUT, images).to(model.device)
    error = torch.cat([(model.synthesize(model.map(part)) - render(factors_of(part)).images) for part in z.split(32)])
    return float(-10 * torch.log10((error / 2).square().mean()))


def directions(factors: Float[Tensor, "count factors"], *, step: float = 0.1) -> Float[Tensor, "count factors pixels"]:
    """How the rendered picture changes with each factor: central differences, per unit of the factor."""
    columns = []
    for k in range(len(FACTORS)):
        up, down = factors.clone(), factors.clone()
        up[:, k], down[:, k] = (up[:, k] + step).clamp_max(1), (down[:, k] - step).clamp_min(0)
        width = (up[:, k] - down[:, k])[:, None]
        columns.append((rooms(up) - rooms(down)).flatten(1) / width)
    return torch.stack(columns, 1)


def attribute(
    changes: Float[Tensor, "count rgb h w"], basis: Float[Tensor, "count factors pixels"], *, ridge: float = 1e-3
) -> dict[str, float]:
    """How much of a unit's image change each factor explains, as shares that sum to 1.

    The change of every image is written as Σ a_k J_k by least squares, with the renderer's own directions J_k; a
    factor's share is the energy ‖a_k J_k‖² summed over the images.
    """
    normal = basis @ basis.transpose(1, 2)
    normal = normal + ridge * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(len(FACTORS))
    weight = torch.linalg.solve(normal, torch.einsum("nkp,np->nk", basis, changes.flatten(1)))
    energy = (weight.square() * basis.square().sum(2)).sum(0)
    return dict(zip(FACTORS, (energy / energy.sum().clamp_min(1e-12)).tolist(), strict=True))


def main_factor(shares: Mapping[str, float]) -> str:
    """The factor that explains most."""
    return max(shares, key=lambda name: shares[name])


TRUTHS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "light": ("shade", "light", "score", ("lamp",)),
    "warmth": ("shade", "warmth", "d_warmth", ("warmth",)),
    "reflection": ("reflection", "light", "score", ("lamp", "gloss")),
}
"""What is looked for: the mask, the label, the order, and the factors one of which a right unit moves most."""


def lit_latents(count: int, *, seed: int = HELD_OUT + 7) -> Float[Tensor, "count d_z"]:
    """Held-out latents of rooms whose lamp burns brightly enough to be marked (factor above 0.5)."""
    z = draw(seed, 8 * count + 64)
    return z[factors_of(z)[:, FACTORS.index("lamp")] > 0.5][:count]


@torch.no_grad()
def movers(
    model: Generator, w: Tensor, basis: Float[Tensor, "count factors pixels"], units: Sequence[tuple[str, int]]
) -> list[str]:
    """The factor that each unit moves most when it is zeroed, by `attribute`."""
    image, found = model.synthesize(w), []
    for unit in units:
        with turned(model, {unit: 0.0}):
            found.append(main_factor(attribute(model.synthesize(w) - image, basis)))
    return found


def precisions(
    model: Generator, ranking: Ranking, z: Tensor, *, depths: Sequence[int] = (5, 10), every: int = 9
) -> dict[str, dict[str, float]]:
    """precision@k of the units found for light, warmth and reflection, and the rate among all units (sampled)."""
    w, basis = model.map(z), directions(factors_of(z))
    chance = movers(model, w, basis, ranking.units[::every])
    found = {}
    for name, (mask, label, by, right) in TRUTHS.items():
        units = [(row.layer, row.channel) for row in ranking.top(max(depths), mask=mask, label=label, by=by)]
        hits = [float(factor in right) for factor in movers(model, w, basis, units)]
        found[name] = {f"@{k}": sum(hits[:k]) / k for k in depths}
        found[name]["chance"] = sum(factor in right for factor in chance) / len(chance)
    return found
