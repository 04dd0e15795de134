"""Unseen rendered rooms with their lamps lit, and the same at a fraction."""

from __future__ import annotations

import torch
from torch import Tensor

from styles.demo.measure import HELD_OUT, draw
from styles.demo.renderer import factors_of, render
from styles.relighting.rooms import with_powers


def rooms(count: int, fraction: float, *, size: int = 64, seed: int = HELD_OUT + 31) -> tuple[Tensor, Tensor]:
    """Both lamps at 0.8 of their power, and at that fraction of it."""
    factors, lit = factors_of(draw(seed, count)), torch.full((count, 2), 0.8)
    on, part = (render(with_powers(factors, lit * share), size=size).images for share in (1.0, fraction))
    return on, part
