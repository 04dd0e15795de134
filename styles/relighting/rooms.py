"""Pairs that no camera took: the renderer's rooms, and the embedded generator's under a switch solved from a mask."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.checkpoints.checkpoint import load_generator
from styles.demo.measure import lit_latents
from styles.demo.renderer import FACTORS, Z_DIM, factors_of, render
from styles.generator import Generator
from styles.relighting.batches import Batch, fractions_of, mirrored, sized
from styles.units.control import even_strengths, solve_control
from styles.units.modulate import UnitEdit

LAMPS = {"lamp": "shade", "pendant": "pendant"}
"""The renderer's lamps: the factor of each and the mask of what shines."""
DARKEST = 0.25
"""Least share of its full power of a lamp that counts as on."""
SPARE = 4
"""How many latents are drawn for each picture of a switch, since some rooms have no lamp that burns."""


class RenderedPairs:
    """The renderer's rooms with a table lamp and a pendant: every lamp, or the masked one, at a fraction of its light.

    A lamp that is dimmed burnt at a quarter to all of its power; one that is lit comes to that fraction of full power.
    """

    note = "rooms of styles.demo.renderer, lamps of known power"

    def __init__(self, *, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        """Where the rooms are painted; what is drawn is drawn on the CPU."""

    def draw(self, count: int, size: int, generator: torch.Generator) -> Batch:
        """Rooms that no other state of `generator` gives."""
        factors = factors_of(torch.randn(count, Z_DIM, generator=generator))
        fractions = fractions_of(count, generator)
        dimmed, alone, which, rest = torch.rand(4, count, generator=generator)
        power = DARKEST + (1 - DARKEST) * torch.rand(count, len(LAMPS), generator=generator)
        dim = (dimmed < 0.5)[:, None]
        meant = self._meant(alone, which)
        burns = torch.where(meant > 0, torch.ones_like(power), (rest[:, None] < 0.5).float())
        lonely = (meant.sum(1) > 1) & dim[:, 0] & (rest < 0.3)
        burns[lonely] = nnf.one_hot((which[lonely] * len(LAMPS)).long(), len(LAMPS)).float()
        lit = torch.where(dim | (meant == 0), power, torch.ones_like(power)) * burns
        start = torch.where(dim | (meant == 0), lit, torch.zeros_like(lit))
        end = torch.where(meant > 0, lit * fractions[:, None], lit)
        chosen = torch.where(meant.sum(1) > 1, torch.zeros_like(which), meant.argmax(1) + 1.0).long()
        factors, start, end, chosen, fractions = (
            part.to(self.device) for part in (factors, start, end, chosen, fractions)
        )
        before = render(with_powers(factors, start), size=size)
        masks = [before.masks[name] for name in LAMPS.values()]
        region = torch.stack([torch.ones_like(masks[0]), *masks], 1)
        mask = region[torch.arange(count, device=self.device), chosen][:, None]
        after = render(with_powers(factors, end), size=size).images
        return mirrored(Batch(before.images, fractions, mask, after), generator)

    @staticmethod
    def _meant(alone: Tensor, which: Tensor) -> Float[Tensor, "count lamps"]:
        """Every lamp for half of the rooms, one of them for the others."""
        one = nnf.one_hot((which * len(LAMPS)).long(), len(LAMPS)).float()
        return torch.where(alone[:, None] < 0.5, torch.ones_like(one), one)


def with_powers(
    factors: Float[Tensor, "count factors"], powers: Float[Tensor, "count lamps"]
) -> Float[Tensor, "count factors"]:
    """The rooms with their lamps at other powers, from 0 (off) to 1; the lowest fifth of the factor is off."""
    changed = factors.clone()
    for column, name in enumerate(LAMPS):
        changed[:, FACTORS.index(name)] = 0.2 + 0.8 * powers[:, column]
    return changed


class SwitchedPairs:
    """Pictures of a generator under a switch that `styles.solve_control` solved; its strength is 1 - fraction.

    `even_strengths` says how far each picture is switched; pictures that are dark already are passed over. Half of the
    masks mark where the switch changes most, the others are 1 everywhere.
    """

    def __init__(self, model: Generator, switch: UnitEdit) -> None:
        self.model, self.switch = model, switch
        self.note = f"pictures of a generator under {switch.note or 'a switch'}"
        probe = model.map(model.sample_z(range(32)))
        if not bool((even_strengths(model, probe, switch) > 0).any()):
            raise ValueError("this switch moves none of the generator's first 32 pictures; solve it on a lit lamp.")

    @torch.no_grad()
    def draw(self, count: int, size: int, generator: torch.Generator) -> Batch:
        """Pictures of the generator, resized where `size` is not its resolution."""
        w, strength = self.burning(count, generator)
        fractions = fractions_of(count, generator)
        on, off, part = (self.painted(w, strength * share) for share in (0.0, 1.0, 1 - fractions))
        dim, whole = torch.rand(2, count, generator=generator)[:, :, None, None, None] < 0.5
        change = (on - off).abs().mean(1, keepdim=True)
        mask = (change > 0.5 * change.amax((2, 3), keepdim=True)).float()
        batch = Batch(torch.where(dim, on, off), fractions, torch.where(whole, torch.ones_like(mask), mask), part)
        return mirrored(sized(batch, size), generator)

    def painted(self, w: Tensor, strength: Tensor) -> Tensor:
        """Pictures under the switch at these strengths, 0 as they are."""
        with self.switch.applied(self.model, strength=strength):
            return self.model.synthesize(w).float().cpu()

    def burning(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents whose lamp burns, and how far each is switched."""
        found: list[Tensor] = []
        strengths: list[Tensor] = []
        while sum(map(len, found)) < count:
            z = torch.randn(SPARE * count, self.model.config.z_dim, generator=generator)
            w = self.model.map(z.to(self.model.device))
            even = even_strengths(self.model, w, self.switch).cpu()
            found.append(w[even > 0])
            strengths.append(even[even > 0])
        return torch.cat(found)[:count], torch.cat(strengths)[:count]


def switched_rooms(marked: int = 4) -> SwitchedPairs:
    """The embedded generator under the switch that is solved from the lampshades of some of its lit rooms."""
    model, z = load_generator("demo", device="cpu"), lit_latents(marked)
    masks = render(factors_of(z), size=model.config.resolution).masks
    return SwitchedPairs(model, solve_control(model, model.map(z), masks["shade"]))
