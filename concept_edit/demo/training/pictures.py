"""Drawings as tensors, and the small moves and scalings that make seeds differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from concept_edit.demo.training.data import Drawing
from concept_edit.pictures import contact_sheet

PIXELS = 64


def stack(root: Path, rows: Sequence[Drawing]) -> UInt8[Tensor, "drawings 3 h w"]:
    arrays = [np.asarray(Image.open(root / "drawings" / row.file).convert("RGB")) for row in rows]
    return rearrange(torch.from_numpy(np.stack(arrays)), "n h w c -> n c h w")


def moved(
    drawings: UInt8[Tensor, "batch 3 h w"],
    generator: torch.Generator | None,
    *,
    shift: float = 0.06,
    scale: tuple[float, float] = (0.84, 1.0),
    turn: float = 0.0,
    pixels: int = PIXELS,
) -> Float[Tensor, "batch 3 pixels pixels"]:
    """64 px pictures in [-1, 1]: each drawing scaled, shifted (fraction of the half side), turned (radians), on white.

    Without a generator the drawing is only resized.
    """
    n = len(drawings)
    white_is_zero = 1 - drawings.float() / 255
    if generator is None:
        return 1 - 2 * F.interpolate(white_is_zero, size=(pixels, pixels), mode="area")
    draw = torch.rand(4, n, generator=generator)
    size = scale[0] + (scale[1] - scale[0]) * draw[0]
    angle = turn * (2 * draw[3] - 1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = angle.cos() / size
    theta[:, 0, 1], theta[:, 1, 0] = -angle.sin() / size, angle.sin() / size
    theta[:, :, 2] = shift * (2 * draw[1:3].T - 1)
    grid = F.affine_grid(theta, [n, 3, pixels, pixels], align_corners=False)
    return 1 - 2 * F.grid_sample(white_is_zero, grid, align_corners=False)


def to_pil(pictures: Float[Tensor, "batch 3 h w"]) -> list[Image.Image]:
    arrays = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(a) for a in arrays]


def sheet(images: Sequence[Image.Image], columns: int, path: Path) -> None:
    """Save pictures of one size as a contact sheet."""
    contact_sheet(images, columns=columns).save(path)
