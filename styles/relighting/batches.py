"""What a relighter learns from: pictures whose lamps are known at every fraction of their light.

Three sources draw the same `Batch`: the renderer's rooms (truth at every fraction, several lamps), the embedded
generator under a solved switch, and a folder of aligned photographs. Half of the pictures have their lamps on and are
dimmed, half have them off and are lit (Cui et al. 2022, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as nnf

from styles.units.modulate import to_display, to_linear

ENDS = 0.2
"""Share of the fractions that are 0 or 1 exactly."""


@dataclass(frozen=True)
class Batch:
    """Pictures, what is asked of them, and the answer. Display values in [-1, 1]; fractions and masks in [0, 1]."""

    photos: Float[Tensor, "batch rgb h w"]
    fractions: Float[Tensor, " batch"]
    masks: Float[Tensor, "batch 1 h w"]
    """1 everywhere where every lamp of the picture is meant."""
    truth: Float[Tensor, "batch rgb h w"]


class Pairs(Protocol):
    """A source of batches. `note` says what it is, for the file of a network that was trained on it."""

    note: str

    def draw(self, count: int, size: int, generator: torch.Generator) -> Batch:
        """`count` pictures of size x size pixels; the same generator state gives the same batch."""
        ...


def fractions_of(count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
    """From 0 to 1; some are the ends exactly."""
    drawn = torch.rand(count, generator=generator)
    end, which = torch.rand(2, count, generator=generator)
    return torch.where(end < ENDS, (which < 0.5).float(), drawn)


def mirrored(batch: Batch, generator: torch.Generator) -> Batch:
    """Each picture as it is or mirrored left to right."""
    turn = (torch.rand(len(batch.photos), generator=generator) < 0.5)[:, None, None, None].to(batch.photos.device)
    photos, masks, truth = (torch.where(turn, part.flip(-1), part) for part in (batch.photos, batch.masks, batch.truth))
    return Batch(photos, batch.fractions, masks, truth)


def mixed_light(
    off: Float[Tensor, "batch rgb h w"], on: Float[Tensor, "batch rgb h w"], fractions: Float[Tensor, " batch"]
) -> Float[Tensor, "batch rgb h w"]:
    """Pictures between off and on, mixed in linear light."""
    return to_display(torch.lerp(to_linear(off), to_linear(on), fractions[:, None, None, None]))


def sized(batch: Batch, size: int) -> Batch:
    photos, masks, truth = (resized(part, size) for part in (batch.photos, batch.masks, batch.truth))
    return Batch(photos.clamp(-1, 1), batch.fractions, masks.clamp(0, 1), truth.clamp(-1, 1))


def resized(images: Float[Tensor, "batch planes h w"], size: int) -> Float[Tensor, "batch planes size size"]:
    if images.shape[-2:] == (size, size):
        return images
    return nnf.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
