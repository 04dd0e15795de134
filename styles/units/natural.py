"""What a generator's w vectors do by themselves: their mean, their covariance, and its main directions.

A unit is an affine function of w, so that the covariance Σ of all units is A C Aᵀ with C that of w and A the affine
layers: a shift of units that is natural under Σ is a shift of w, the same at every layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from styles.generator import Generator

KEPT, MOST = 0.99, 96
"""Share of the variance of w that the directions hold, and their greatest number."""


def latents(model: Generator, samples: int, *, truncation: float, seed: int, batch: int) -> Iterator[Tensor]:
    """w vectors of random latents in pieces, batch x d_w; classes of a conditional model are drawn evenly."""
    random = torch.Generator().manual_seed(seed)
    for start in range(0, samples, batch):
        z = torch.randn(min(batch, samples - start), model.config.z_dim, generator=random)
        classes = torch.randint(model.config.c_dim, (len(z),), generator=random) if model.config.c_dim else None
        yield model.map(z, truncation=truncation, class_labels=classes)[:, 0]


def moments(
    model: Generator, samples: int, *, truncation: float = 1.0, seed: int = 0, batch: int = 1000
) -> tuple[Float[Tensor, " d_w"], Float[Tensor, "d_w d_w"]]:
    """Mean and covariance of w over random latents, streamed, in float64 on the CPU."""
    total = torch.zeros(model.config.w_dim, dtype=torch.float64)
    squares = torch.zeros(model.config.w_dim, model.config.w_dim, dtype=torch.float64)
    for piece in latents(model, samples, truncation=truncation, seed=seed, batch=batch):
        w = piece.double().cpu()
        total, squares = total + w.sum(0), squares + w.T @ w
    mean = total / samples
    return mean, (squares - samples * torch.outer(mean, mean)) / (samples - 1)


def affine_rows(model: Generator, layer: str) -> Float[Tensor, "channels d_w"]:
    """What a layer's units add per unit of w: the rows of its affine map, in float64 on the CPU."""
    affine = model.module(layer).affine
    return affine.weight.detach().double().cpu() * (affine.lr / math.sqrt(affine.weight.shape[1]))


@dataclass(frozen=True)
class Natural:
    """The natural directions of w: w = mean + directions · y, with y uncorrelated and of variance 1."""

    mean: Float[Tensor, " d_w"]
    directions: Float[Tensor, "d_w k"]

    @classmethod
    @torch.no_grad()
    def of(cls, model: Generator, *, samples: int = 4000, seed: int = 0) -> Natural:
        """The main axes of the covariance of w, largest first, until they hold 99 % of the variance (96 at most)."""
        mean, covariance = moments(model, samples, seed=seed)
        values, axes = torch.linalg.eigh(covariance)
        values, axes = values.flip(0).clamp_min(0), axes.flip(1)
        if float(values[0]) <= 0:
            raise ValueError("every latent gives the same w; this generator has nothing to turn.")
        held = values.cumsum(0) / values.sum()
        count = min(int((held < KEPT).sum()) + 1, MOST)
        return cls(mean.float().to(model.device), (axes[:, :count] * values[:count].sqrt()).float().to(model.device))

    def __len__(self) -> int:
        return self.directions.shape[1]

    def shift(self, model: Generator, y: Float[Tensor, "*moves k"]) -> dict[str, Float[Tensor, "*moves channels"]]:
        """The change of every unit that belongs to a move y, or to each of some moves."""
        moves = (y.to(self.directions) @ self.directions.T).double().cpu()
        rows = {layer.name: affine_rows(model, layer.name) for layer in model.layers}
        return {name: (moves @ row.T).float().to(self.mean.device) for name, row in rows.items()}

    def move(self, model: Generator, shift: dict[str, Float[Tensor, " channels"]]) -> Float[Tensor, " k"]:
        """The move y that comes nearest to a change of units (exact for one that `shift` gave)."""
        names = list(shift)
        rows = torch.cat([affine_rows(model, name) for name in names]) @ self.directions.double().cpu()
        wanted = torch.cat([shift[name].double().cpu() for name in names])
        return torch.linalg.lstsq(rows, wanted[:, None]).solution[:, 0].float().to(self.mean.device)

    def place(self, w: Float[Tensor, "images layers d_w"]) -> Float[Tensor, "images k"]:
        """Where pictures stand among natural ones: their y (of the mean of the layers' w)."""
        off = w.mean(1) - self.mean
        return off @ self.directions / self.directions.square().sum(0)
