"""A small network that says where things are in a picture: what dissection labels units by where no masks fit.

Fully convolutional, one probability per class and pixel, so that classes may lie over each other (a glow on a wall).
The embedded one (`load_segmenter("demo")`) was trained on rendered rooms, with and without each thing, at 64 to 128 px;
its IoU on rooms that it never saw is on the card of `styles.demo`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as nnf

from styles.network_file import GROUPS, load_network, save_network, widths_of

FORMAT = "styles.segmenter/1"
WIDTHS = (16, 24, 32, 48)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the picture's size."""
MOST_CLASSES = 200
"""Bounds on what a file may ask for."""
SURE = 0.5
"""Probability above which a pixel belongs to a class."""


@runtime_checkable
class Segments(Protocol):
    """What labels units and measures areas: classes by name, and where each is in pictures."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def masks(
        self, pictures: Float[Tensor, "pictures rgb h w"], names: Sequence[str] | None = None
    ) -> dict[str, Bool[Tensor, "pictures h w"]]: ...


class Segmenter(nn.Module):
    """pictures -> logits of the classes. A small UNet over 2 x 2 pixels."""

    def __init__(self, classes: Sequence[str], *, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.classes, self.widths = tuple(classes), tuple(widths)
        self.stem = nn.Conv2d(12, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.encoder = nn.ModuleList(_Block(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 4 * len(self.classes), 3, padding=1)

    @property
    def multiple(self) -> int:
        """What the sides of a picture are padded to a multiple of."""
        return 2 ** len(self.widths)

    def forward(self, pictures: Float[Tensor, "pictures rgb h w"]) -> Float[Tensor, "pictures classes h w"]:
        """Logits for display values in [-1, 1] of any size."""
        height, width = pictures.shape[-2:]
        seen = nnf.pad(pictures, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        x, kept = self.stem(nnf.pixel_unshuffle(seen, 2)), []
        for level, block in enumerate(self.encoder):
            x = block(self.down[level - 1](x) if level else x)
            kept.append(x)
        for level in reversed(range(len(self.decoder))):
            x = kept[level] + self.up[level](nnf.interpolate(x, size=kept[level].shape[-2:], mode="bilinear"))
            x = self.decoder[level](x)
        return nnf.pixel_shuffle(self.head(nnf.silu(x)), 2)[..., :height, :width]

    @torch.no_grad()
    def masks(
        self, pictures: Float[Tensor, "pictures rgb h w"], names: Sequence[str] | None = None, *, batch: int = 32
    ) -> dict[str, Bool[Tensor, "pictures h w"]]:
        """Where each class is, all of them or those of these names, on the CPU; pictures may lie elsewhere.

        Raises:
            ValueError: pictures that are no pictures x 3 x h x w, or a class that this segmenter does not know.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or min(pictures.shape[-2:]) < 1:
            raise ValueError(f"a segmenter takes pictures x 3 x h x w, got {tuple(pictures.shape)}.")
        wanted = known(self, names)
        device = next(self.parameters()).device
        found = [(self(part.float().to(device)).sigmoid() > SURE).cpu() for part in pictures.split(batch)]
        on = torch.cat(found) if found else torch.zeros(0, len(self.classes), *pictures.shape[-2:], dtype=torch.bool)
        return {name: on[:, self.classes.index(name)] for name in wanted}

    def save(self, path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float16) -> None:
        """Write weights, shape and classes to a .safetensors file."""
        config = {"widths": self.widths, "classes": self.classes}
        save_network(self, path, config, form=FORMAT, kind="segmenter", dtype=dtype)


class _Block(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(nnf.silu(self.first(nnf.silu(self.norm(x)))))


def known(segmenter: Segments, names: Sequence[str] | None) -> tuple[str, ...]:
    """The names, all classes for None.

    Raises:
        ValueError: a class that the segmenter does not know; those that it knows.
    """
    wrong = [name for name in names or () if name not in segmenter.classes]
    if wrong:
        raise ValueError(f"this segmenter knows no {wrong[0]!r}; it knows {', '.join(segmenter.classes)}.")
    return segmenter.classes if names is None else tuple(names)


def seen_in(
    segmenter: Segments, pictures: Float[Tensor, "pictures rgb h w"], names: Sequence[str] | None = None
) -> dict[str, Bool[Tensor, "pictures h w"]]:
    """The masks of the classes that stand in some picture; one that stands in none is left out where all were asked.

    Raises:
        ValueError: no class of the segmenter is seen in any picture, or as `Segmenter.masks`.
    """
    found = segmenter.masks(pictures, names)
    seen = {name: mask for name, mask in found.items() if bool(mask.any())}
    if not seen:
        listed = ", ".join(found)
        raise ValueError(
            f"none of {listed} is seen in these {len(pictures)} pictures: this is a segmenter of other classes, or "
            "was trained on other pictures."
        )
    return seen if names is None else found


def load_segmenter(source: str | os.PathLike[str] = "demo", *, device: str | torch.device = "auto") -> Segmenter:
    """A segmenter from "demo" (the embedded one, trained on rendered rooms) or from a .safetensors file.

    Raises:
        ValueError: no such file, another format, damaged, or weights that do not fit.
    """
    from styles.demo import segmenter_file

    return load_network(source, _shaped, form=FORMAT, kind="segmenter", embedded=segmenter_file, device=device)


def _shaped(config: Mapping[str, Any], name: str) -> Segmenter:
    """The network that a file describes, its numbers still to come."""
    widths, classes = widths_of(config, name), config.get("classes")
    if not isinstance(classes, list) or not 1 <= len(classes) <= MOST_CLASSES or not all(map(_name, classes)):
        raise ValueError(f"{name}: classes must be 1 to {MOST_CLASSES} names.")
    if len(set(classes)) < len(classes):
        raise ValueError(f"{name} names a class twice; every class needs its own name.")
    return Segmenter(classes, widths=widths)


def _name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 80
