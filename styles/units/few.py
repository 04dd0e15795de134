"""Few units that stand for a change of all: chosen one after the other, refitted together, measured on pictures.

Orthogonal matching pursuit on pictures: a unit is worth ⟨J_u, r⟩² / ‖J_u‖², where r is what the change of all units
does to some pictures and the units chosen so far do not. One backward pass gives ⟨J_u, r⟩ for all units, random signs
give ‖J_u‖² (as in a ranking's screen); the chosen units' own J is then taken by differences and fitted (Gauss-Newton).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from styles.generator import Generator
from styles.units.modulate import Statistics, Unit, check_unit, style_statistics

Paint = Callable[[Mapping[str, Tensor]], Tensor]
Shift = dict[str, Float[Tensor, " channels"]]
MANY = 12
"""Most units that still are few."""
ROUND, PROBES, RIDGE, REACH = 3, 6, 0.02, 0.5
"""Units added between two fits; sign patterns; ridge on values in sigmas, as a part of the mean square of one sigma's
effect; half width of a unit's differences in sigmas."""


def refit(
    model: Generator,
    styles: Mapping[str, Float[Tensor, "images channels"]],
    shift: Shift,
    units: int | Sequence[Unit],
    weight: Float[Tensor, "images h w"],
    paint: Paint,
) -> Shift:
    """The change of few units that comes nearest to what `shift` does to some pictures.

    `units` is how many (1 to 12), or which. `weight` says how much each pixel of each picture counts, `paint` makes the
    pictures of unit values.
    """
    job = Refit(model, styles, shift, weight, paint)
    if isinstance(units, int):
        if not 1 <= units <= MANY:
            raise ValueError(f"few units are 1 to {MANY}, got {units}; leave `units` out for the switch of all.")
        while len(job.chosen) < units:
            job.add(min(ROUND, units - len(job.chosen)))
            job.fit()
    else:
        if not len(units):
            raise ValueError("units is empty; name some, or how many.")
        job.chosen = [check_unit(model, unit) for unit in units]
        job.values = torch.zeros(len(units))
    job.fit()
    job.fit()
    return job.shift(job.values)


class Refit:
    """The pictures, what the switch does to them, and the units chosen so far."""

    def __init__(
        self, model: Generator, styles: Mapping[str, Tensor], shift: Shift, weight: Tensor, paint: Paint
    ) -> None:
        self.model, self.styles, self.paint = model, styles, paint
        self.root = weight.sqrt()[:, None]
        self.statistics: Statistics = style_statistics(model)
        self.base = paint(styles)
        self.wanted = self.root * (paint(self._after(shift)) - self.base)
        self.norms = self._norms()
        self.chosen: list[Unit] = []
        self.values = torch.zeros(0)
        """In sigmas of each chosen unit."""

    def shift(self, values: Float[Tensor, " chosen"]) -> Shift:
        """Values of the chosen units as a change of every layer."""
        found = {name: torch.zeros(value.shape[1]) for name, value in self.styles.items()}
        for (name, channel), value in zip(self.chosen, values.tolist(), strict=True):
            found[name][channel] += value * float(self.statistics.sigma[name][channel])
        return found

    def _after(self, shift: Shift) -> dict[str, Tensor]:
        return {name: value + shift[name].to(value) for name, value in self.styles.items()}

    def done(self, values: Float[Tensor, " chosen"]) -> Tensor:
        """What the chosen units do to the pictures."""
        return self.root * (self.paint(self._after(self.shift(values))) - self.base)

    def _slopes(self, target: Callable[[Tensor], Tensor], at: Mapping[str, Tensor]) -> list[Tensor]:
        """Derivatives of a number by every unit value of every picture."""
        leaves = {name: value.detach().clone().requires_grad_() for name, value in at.items()}
        with torch.enable_grad():
            number = target(self.root * self.paint(leaves))
            return list(torch.autograd.grad(number, list(leaves.values())))

    def _norms(self) -> dict[str, Float[Tensor, " channels"]]:
        """‖J_u‖² over all pictures, per unit, by random signs."""
        random = torch.Generator().manual_seed(0)
        total = {name: torch.zeros(value.shape[1], device=value.device) for name, value in self.styles.items()}
        for _ in range(PROBES):
            signs = torch.randint(0, 2, self.base.shape, generator=random).to(self.base) * 2 - 1
            for name, slope in zip(total, self._slopes(lambda p, s=signs: (p * s).sum(), self.styles), strict=True):  # type: ignore[misc]
                total[name] += slope.square().sum(0) / PROBES
        return total

    def add(self, count: int) -> None:
        """Choose the units that explain most of what is missing, among those not chosen yet."""
        rest = self.wanted - self.done(self.values)
        slopes = self._slopes(lambda pictures: (pictures * rest).sum(), self._after(self.shift(self.values)))
        worth = []
        for name, slope in zip(self.styles, slopes, strict=True):
            gain = slope.sum(0).square() / (self.norms[name] + 1e-3 * self.norms[name].max()).clamp_min(1e-12)
            gain = gain.cpu() * (self.statistics.sigma[name] > 0)  # what never varies has no scale to be turned by
            worth += [(float(value), (name, channel)) for channel, value in enumerate(gain)]
        fresh = [unit for _, unit in sorted(worth, key=lambda row: -row[0]) if unit not in self.chosen]
        self.chosen += fresh[:count]
        self.values = torch.cat([self.values, torch.zeros(min(count, len(fresh)))])

    def fit(self) -> None:
        """One Gauss-Newton step for all chosen units, as long as it helps."""
        now = self.done(self.values)
        columns = []
        for at in range(len(self.chosen)):
            step = torch.zeros(len(self.chosen))
            step[at] = REACH
            columns.append((self.done(self.values + step) - self.done(self.values - step)).flatten() / (2 * REACH))
        j = torch.stack(columns)
        normal = (j @ j.T).cpu()
        ridge = RIDGE * normal.diagonal().mean().clamp_min(1e-12) * torch.eye(len(normal))
        right = (j @ (self.wanted - now).flatten()).cpu() - ridge @ self.values
        step = torch.linalg.solve(normal + ridge, right)
        error = float((self.wanted - now).square().sum())
        for part in (1.0, 0.5, 0.25):
            if float((self.wanted - self.done(self.values + part * step)).square().sum()) < error:
                self.values = self.values + part * step
                return
