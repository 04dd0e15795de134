"""A small network that repaints a picture with its lamps at another fraction of their light, and its file.

Fully convolutional, so that pictures of any size go through it. After Cui et al., "Local Relighting of Real Scenes"
(2022): residual blocks are scaled by `1 + Linear(fraction)`, and a mask channel says which lamp is meant.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as nnf

from styles.network_file import GROUPS, load_network, save_network, widths_of

FORMAT = "styles.relighter/1"
WIDTHS = (24, 48, 64, 96)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the picture's size."""
DETAIL = 12
"""Channels at the picture's own size."""


class Block(nn.Module):
    """Two convolutions added to their input, scaled by `1 + Linear(fraction)`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = nn.Linear(1, channels)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, fraction: Float[Tensor, "batch 1"]) -> Tensor:
        inner = self.first(nnf.silu(self.norm(x))) * (1 + self.scale(fraction))[:, :, None, None]
        return x + self.second(nnf.silu(inner))


class Relighter(nn.Module):
    """photo, fraction, mask -> photo. A UNet over 2 x 2 pixels whose last layer says how each pixel's value is
    multiplied and what is added to it, so that what it leaves alone keeps its detail.

    `side` is the longer side, in pixels, of the largest pictures it was trained on.
    """

    def __init__(self, *, widths: tuple[int, ...] = WIDTHS, side: int = 128) -> None:
        super().__init__()
        self.widths, self.side = tuple(widths), side
        self.stem = nn.Conv2d(16, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.encoder = nn.ModuleList(Block(width) for width in widths)
        self.middle = Block(widths[-1])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(Block(width) for width in widths[:-1])
        self.detail = nn.Conv2d(widths[0], 4 * (DETAIL - 4), 1)
        self.mixing = nn.Conv2d(DETAIL, DETAIL, 3, padding=1)
        self.change = nn.Conv2d(DETAIL, 6, 3, padding=1)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)  # type: ignore[arg-type]

    @property
    def multiple(self) -> int:
        """What the sides of a picture are padded to a multiple of."""
        return 2 ** len(self.widths)

    def forward(
        self,
        photos: Float[Tensor, "batch rgb h w"],
        fractions: Float[Tensor, " batch"],
        masks: Float[Tensor, "batch 1 h w"],
    ) -> Float[Tensor, "batch rgb h w"]:
        """Display values in [-1, 1] to display values, not clamped; fractions and masks in [0, 1]."""
        height, width = photos.shape[-2:]
        right, below = -width % self.multiple, -height % self.multiple
        seen = nnf.pad(torch.cat([photos, masks], 1), (0, right, 0, below), mode="replicate")
        fraction = fractions[:, None] * 2 - 1
        x, kept = self.stem(nnf.pixel_unshuffle(seen, 2)), []
        for level, block in enumerate(self.encoder):
            x = block(self.down[level - 1](x) if level else x, fraction)
            kept.append(x)
        x = self.middle(x, fraction)
        for level in reversed(range(len(self.decoder))):
            x = kept[level] + self.up[level](nnf.interpolate(x, scale_factor=2, mode="bilinear"))
            x = self.decoder[level](x, fraction)
        fine = torch.cat([nnf.pixel_shuffle(self.detail(nnf.silu(x)), 2), seen], 1)
        change = self.change(nnf.silu(self.mixing(fine)))[..., :height, :width]
        gain, added = change.chunk(2, dim=1)
        return photos + gain * (photos + 1) / 2 + added

    def save(self, path: str | os.PathLike[str], *, note: str = "", dtype: torch.dtype = torch.float16) -> None:
        """Write weights, shape and a note on what it was trained on to a .safetensors file."""
        config = {"widths": self.widths, "side": self.side, "note": note}
        save_network(self, path, config, form=FORMAT, kind="relighter", dtype=dtype)


def load_relighter(source: str | os.PathLike[str] = "demo", *, device: str | torch.device = "auto") -> Relighter:
    """A relighter from "demo" (the embedded one, trained on rendered rooms) or from a .safetensors file.

    Raises:
        ValueError: no such file, another format, damaged, or weights that do not fit.
    """
    from styles.demo import relighter_file

    return load_network(source, _shaped, form=FORMAT, kind="relighter", embedded=relighter_file, device=device)


def _shaped(config: Mapping[str, Any], name: str) -> Relighter:
    """The network that a file describes, its numbers still to come."""
    widths, side = widths_of(config, name), config.get("side")
    if type(side) is not int or not 16 <= side <= 2048:
        raise ValueError(f"{name}: side must be a whole number from 16 to 2048.")
    return Relighter(widths=tuple(widths), side=side)
